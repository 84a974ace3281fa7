package environ

import "testing"

func TestBaseIsAbsolute(t *testing.T) {
	for _, c := range []struct{ xdg, home, want string }{
		{"/x", "/h", "/x"}, {"", "/h", "/h/.local/state"}, {"x", "/h", "/h/.local/state"}, {"/x", "h", "/x"},
		{"x", "h", ""}, {"", "h", ""}, {"", ".", ""}, {"", "", ""},
	} {
		env := map[string]string{"XDG_STATE_HOME": c.xdg, "HOME": c.home}
		got, ok := Base(func(k string) string { return env[k] }, "XDG_STATE_HOME", ".local", "state")
		if got != c.want || ok != (c.want != "") {
			t.Errorf("XDG_STATE_HOME=%q HOME=%q: %q, %t", c.xdg, c.home, got, ok)
		}
	}
}
