package keyfile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
)

var errPower = errors.New("power is gone")

// A witness remembers what the world outside has seen of a device.
type witness struct {
	keys  map[string]bool // that asked for enrollment
	floor int64           // of the last state whose Save returned
}

func newWitness() *witness { return &witness{keys: map[string]bool{}} }

// life is what a device does from its first start on: a key, then what it would
// enroll with, then two states.
func life(t *testing.T, path string, hook keyfile.Hook, w *witness) error {
	d, err := keyfile.Open(path, hook)
	if err != nil {
		return err
	}
	defer d.Close()
	key, err := d.Key(t.Context(), keyfile.P256)
	if err != nil {
		return err
	}
	w.keys[string(key.PublicKey())] = true
	r, err := d.Load(t.Context())
	if err != nil {
		return err
	}
	r.Pool, r.Name = names(t)
	for range 2 {
		r.Enrolled, r.Subject, r.Floor = true, ident.UUID{1}, r.Floor+1
		if err := d.Save(t.Context(), r); err != nil {
			return err
		}
		w.floor = r.Floor
	}
	return nil
}

func names(t *testing.T) (ident.Pool, ident.Name) {
	t.Helper()
	d := identtest.Device(t, "demo:lamp-1")
	return d.Pool, d.Name
}

// Power goes at every step, and inside writes at every byte; whatever is left, the
// next life ends well, with the one key that the broker has ever seen.
func TestPowerCutAtEveryStep(t *testing.T) {
	type cutAt struct{ step, bytes int }
	var cuts []cutAt
	steps := 0
	_ = life(t, filepath.Join(t.TempDir(), "d"), func(s keyfile.Step) (int, error) {
		for n := 0; n <= s.Size; n++ {
			cuts = append(cuts, cutAt{steps, n})
		}
		steps++
		return 0, nil
	}, newWitness())
	if steps < 15 {
		t.Fatalf("only %d steps", steps)
	}
	for _, cut := range cuts {
		t.Run(fmt.Sprintf("step %d, byte %d", cut.step, cut.bytes), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d")
			w, n := newWitness(), 0
			err := life(t, path, func(keyfile.Step) (int, error) {
				if n++; n > cut.step {
					return cut.bytes, errPower
				}
				return 0, nil
			}, w)
			if !errors.Is(err, errPower) {
				t.Fatalf("the power did not go: %v", err)
			}
			floor := int64(0)
			if d, err := keyfile.View(path); err == nil {
				r, err := d.Load(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				floor = r.Floor
			}
			if err := life(t, path, nil, w); err != nil {
				t.Fatalf("after the cut: %v", err)
			}
			if len(w.keys) != 1 {
				t.Errorf("the broker has seen %d identities", len(w.keys))
			}
			d, _ := keyfile.View(path)
			if r, err := d.Load(t.Context()); err != nil || !r.Enrolled || r.Floor < floor+2 {
				t.Errorf("state %+v, %v", r, err)
			}
		})
	}
}

// A file system that lies about syncing may leave the newest state cut short.
func TestTruncatedState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	if err := life(t, path, nil, newWitness()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(path, "state"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(filepath.Join(path, "state"), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := keyfile.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := d.Load(t.Context())
		if err != nil || !r.Enrolled || r.Floor != 1 {
			t.Fatalf("%d bytes left: %+v, %v", n, r, err)
		}
		if _, err := d.Key(t.Context(), keyfile.P256); err != nil {
			t.Fatal(err)
		}
		_ = d.Close()
	}
}

func TestKeyLostIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	if err := life(t, path, nil, newWitness()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(path, "device.key")); err != nil {
		t.Fatal(err)
	}
	if err := life(t, path, nil, newWitness()); !errors.Is(err, keyfile.ErrKeyLost) {
		t.Error(err)
	}
}

func TestRefusesWhatOthersCanRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	if err := life(t, path, nil, newWitness()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"device.key", "state", ""} {
		p := filepath.Join(path, name)
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q was made with mode %v", name, info.Mode())
		}
		if err := os.Chmod(p, info.Mode().Perm()|0o040); err != nil {
			t.Fatal(err)
		}
		if err := life(t, path, nil, newWitness()); !errors.Is(err, keyfile.ErrExposed) {
			t.Errorf("%q readable by the group: %v", name, err)
		}
		_ = os.Chmod(p, info.Mode().Perm())
	}
}

func TestOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	d, err := keyfile.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Open(path, nil); !errors.Is(err, keyfile.ErrHeld) {
		t.Error(err)
	}
	_ = d.Close()
	again, err := keyfile.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestKeysProve(t *testing.T) {
	for _, kind := range []keyfile.Kind{keyfile.P256, keyfile.Ed25519} {
		d, err := keyfile.Open(filepath.Join(t.TempDir(), "d"), nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := d.Key(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		again, err := d.Key(t.Context(), kind)
		if err != nil || !bytes.Equal(key.PublicKey(), again.PublicKey()) || again.Algorithm() != kind {
			t.Fatalf("%s: read back as another (%v)", kind, err)
		}
		pub, err := token.ParseCOSEKey(key.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		proof, err := again.Prove([]byte("input"))
		if err != nil || pub.Verify([]byte("input"), proof) != nil {
			t.Errorf("%s: proof does not verify (%v)", kind, err)
		}
		_ = d.Close()
	}
}

func TestSharedKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "psk")
	for text, ok := range map[string]bool{
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n": true,
		"ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=":                       true,
		"0011": false, "not a key": false, "": false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := keyfile.ReadSharedKey(path)
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if ok {
			if mac, err := k.Prove([]byte("x")); err != nil || len(mac) != 32 {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}

func TestForget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	if err := life(t, path, nil, newWitness()); err != nil {
		t.Fatal(err)
	}
	d, err := keyfile.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Forget(); err != nil {
		t.Fatal(err)
	}
	if r, err := d.Load(context.Background()); err != nil || r.Enrolled {
		t.Errorf("%+v, %v", r, err)
	}
	var _ agent.State = d
}
