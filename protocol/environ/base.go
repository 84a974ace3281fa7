package environ

import "path/filepath"

// Base gives the user's folder that an XDG variable names, such as XDG_STATE_HOME, or else
// the one below HOME, false if there is none. A relative path is ignored (XDG Base Directory
// Specification 0.8): with the next working folder what was put there is gone, or is found
// by whoever works there.
func Base(getenv func(string) string, variable string, below ...string) (string, bool) {
	if base := getenv(variable); filepath.IsAbs(base) {
		return base, true
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(append([]string{home}, below...)...), true
	}
	return "", false
}
