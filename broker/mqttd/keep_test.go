package mqttd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// records gives what a closed server saves.
func records(t testing.TB, s *Server) (all [][]byte) {
	t.Helper()
	if err := s.Save(func(r []byte) error { all = append(all, bytes.Clone(r)); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// reading gives records one by one.
func reading(all [][]byte) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(all) == 0 {
			return nil, io.EOF
		}
		first := all[0]
		all = all[1:]
		return first, nil
	}
}

// recalled is a recall that knows every device but one.
func recalled(but string) func(context.Context, ident.Device) (Standing, error) {
	return func(_ context.Context, d ident.Device) (Standing, error) {
		if d.String() == but {
			return Standing{}, errors.New("it is disabled")
		}
		return Standing{Device: d, Permissions: topic.Own(d)}, nil
	}
}

// keeping starts a server that keeps sessions, of devices that may retain.
func keeping(t *testing.T) *fixture {
	f := start(t, func(c *Config, fx *fixture) {
		c.Outlive = true
		for _, d := range []string{"p:n", "p:gone"} {
			fx.gate.grants[device(fx.t, d)] = topic.Own(device(fx.t, d))
		}
	})
	return f
}

func stop(t *testing.T, f *fixture) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestRestart: over a planned restart sessions go on where they were, those with a connection at
// the end and those without; retained messages stay; a device that may nothing any more has none.
func TestRestart(t *testing.T) {
	f := keeping(t)
	session := func(id, user string, version byte) connectPacket {
		c := as(user, version)
		c.id, c.dirty, c.expiry = id, true, 3600
		return c
	}
	away, there, gone := session("p:n/away", "p:n", 5), session("any id", "p:n", 4), session("p:gone", "p:gone", 5)
	for _, c := range []connectPacket{away, there, gone} {
		r := f.mustConnect(c)
		r.send(frame(0x82, []byte{0, 7}, r.props(), str("devices/p/n/+"), []byte{1}))
		r.next()
		if c.id == away.id {
			r.nc.Close()
			eventually(t, "it is away", func() bool { return f.clients.get(away.id) == nil })
		}
	}
	from := f.mustConnect(as("p:n", 5))
	from.publish(2, "devices/p/n/x", "kept")
	from.next()
	from.publish(3, "devices/p/n/state", "retained")
	from.next()
	stop(t, f)
	all := records(t, f.Server)

	g := keeping(t)
	sessions, dropped, err := g.Restore(t.Context(), reading(all), recalled("p:gone"))
	if err != nil || sessions != 2 || dropped != 1 {
		t.Fatalf("%d sessions, %d dropped, %v", sessions, dropped, err)
	}
	for _, c := range []connectPacket{away, there} {
		r := g.dial()
		r.v = c.version
		r.send(c.bytes())
		if kind, body := r.next(); kind != 0x20 || body[0] != 1 || body[1] != 0 {
			t.Fatalf("%q: packet %#x %x, want its session", c.id, kind, body)
		}
		for _, want := range []string{"kept", "retained"} {
			kind, body := r.next()
			if kind&^0x08 != 0x32 || !bytes.HasSuffix(body, []byte(want)) {
				t.Errorf("%q: packet %#x %q, want %q", c.id, kind, body, want)
			}
		}
		r.ping()
	}
	r := g.dial()
	r.v = 5
	r.send(gone.bytes())
	if kind, body := r.next(); kind != 0x20 || body[0] != 0 {
		t.Errorf("a device that was refused has its session: packet %#x %x", kind, body)
	}
	if n, _ := g.retained.Taken(); n != 1 {
		t.Errorf("%d retained messages, want 1", n)
	}
	stop(t, g)
	if again := records(t, g.Server); len(again) < len(all)-2 {
		t.Errorf("%d records after %d", len(again), len(all))
	}
}

// TestRestoreRefuses: what Save did not write, or not to its end, is an error and no panic.
func TestRestoreRefuses(t *testing.T) {
	f := keeping(t)
	c := as("p:n", 5)
	c.id, c.dirty, c.expiry, c.will = "p:n/1", true, 3600, "devices/p/n/gone"
	r := f.mustConnect(c)
	r.send(frame(0x82, []byte{0, 7}, r.props(), str("devices/p/n/+"), []byte{1}))
	r.next()
	stop(t, f)
	all := records(t, f.Server)
	for n := range all {
		g := keeping(t)
		if _, _, err := g.Restore(t.Context(), reading(all[:n]), recalled("")); !errors.Is(err, ErrRecord) || !errors.Is(err, io.EOF) {
			t.Errorf("%d records of %d: %v", n, len(all), err)
		}
	}
	for _, wrong := range [][]byte{{}, {9}, {recordSession}, {recordMessage, 0xff}, {recordSession, 0xa1, 1, 0x61, 'x'}} {
		g := keeping(t)
		if _, _, err := g.Restore(t.Context(), reading([][]byte{wrong}), recalled("")); !errors.Is(err, ErrRecord) {
			t.Errorf("%x: %v", wrong, err)
		}
	}
}

// FuzzSessionRecord: reading one never panics.
func FuzzSessionRecord(f *testing.F) {
	f.Add([]byte{0xa3, 1, 0x63, 'p', ':', 'n', 2, 0x61, 'x', 3, 1})
	f.Add([]byte{0xa3, 1, 0x63, 'p', ':', 'n', 2, 0x61, 'x', 4, 0x81, 0xa2, 1, 0x61, 'a', 2, 1})
	f.Fuzz(func(t *testing.T, record []byte) {
		if k, err := parseSession(record); err == nil && (k.device.IsZero() || k.id == "") {
			t.Errorf("%x is a session of nobody", record)
		}
	})
}
