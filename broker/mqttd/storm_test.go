package mqttd

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/topic"
)

// A few devices fight for their client ids, subscribe, share, publish, retain and
// vanish all at once while operators end, review, push and upgrade them. Nothing may happen but
// what tests of one client at a time have seen, and nothing may be left.
func TestManyAtOnce(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	f := start(t, func(c *Config, _ *fixture) { c.WriteTimeout = time.Second })
	devices := []string{"p:a", "p:b", "p:c"}
	for _, s := range devices {
		f.gate.grants[device(t, s)] = topic.Permissions{Publish: filters(t, "devices/#"), Subscribe: filters(t, "devices/#"), Retain: true}
	}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 5))
			for range rounds {
				if err := f.hurry(r, devices[r.IntN(len(devices))]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	stop := make(chan struct{})
	var operators sync.WaitGroup
	for i := range 2 {
		operators.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 6))
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				d := device(t, devices[r.IntN(len(devices))])
				switch r.IntN(4) {
				case 0:
					f.End(d, ReasonAdministrative)
				case 1:
					keep := r.IntN(2) == 0
					f.Review(d, func(s Standing) (Standing, bool) { return s, keep }, ReasonAdministrative, []byte("bye"))
				case 2:
					f.PushDevice(d, []byte("event"))
				case 3:
					_ = f.Upgrade(d.String(), Standing{Device: d, Permissions: topic.Own(d), Expires: time.Now().Add(time.Duration(r.IntN(20)) * time.Millisecond)})
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	operators.Wait()
	eventually(t, "all are gone", func() bool { return f.Count() == 0 && f.noRequests() })
	for _, s := range devices { // whose sessions were to outlive them
		f.End(device(t, s), ReasonAdministrative)
	}
	eventually(t, "all sessions are gone", func() bool { return f.clients.sessions() == 0 })
	if n, bytes := f.room.Taken(); n != 0 || bytes != 0 {
		t.Errorf("%d messages of %d bytes are left", n, bytes)
	}
	if n := f.subscriptions.Len(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	f.mustConnect(as("p:a", 5)).ping()
}

// hurry connects, does a dozen things without waiting for answers, and goes.
func (f *fixture) hurry(r *rand.Rand, d string) error {
	nc, err := net.Dial("tcp", f.addr)
	if err != nil {
		return fmt.Errorf("dialling: %w", err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	p := as(d, 4+byte(r.IntN(2)))
	p.will, p.willRetain, p.dirty = "devices/x/gone", r.IntN(8) == 0, r.IntN(2) == 0
	var props []byte
	if p.version == 5 {
		props = []byte{0}
	}
	out := p.bytes()
	for range 12 {
		filter := []string{"devices/#", "devices/x/+", "$share/g/devices/#", "$share/h/devices/x/1", "signet/v1/" + d + "/rs", "signet/v1/" + d + "/ev"}[r.IntN(6)]
		qos := byte(r.IntN(3))
		switch r.IntN(5) {
		case 0, 1:
			out = append(out, frame(0x82, []byte{0, 7}, props, str(filter), []byte{qos})...)
		case 2:
			out = append(out, frame(0xa2, []byte{0, 8}, props, str(filter))...)
		case 3:
			out = append(out, frame(0x30, str("signet/v1/"+d+"/rq"), props, []byte("q"))...)
		default:
			var id []byte
			if qos > 0 {
				id = []byte{0, 1 + byte(r.IntN(9))}
			}
			out = append(out, frame(0x30|qos<<1|byte(r.IntN(8)/7), str(fmt.Sprintf("devices/x/%d", r.IntN(3))), id, props, []byte("m"))...)
		}
	}
	read := make(chan struct{})
	go func() { defer close(read); _, _ = io.Copy(io.Discard, nc) }()
	_, _ = nc.Write(out) // fails for those that are ended or taken over
	if r.IntN(2) == 0 {
		_, _ = nc.Write([]byte{0xe0, 0})
	} else {
		time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
		nc.Close()
	}
	<-read
	return nil
}
