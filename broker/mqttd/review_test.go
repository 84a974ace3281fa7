package mqttd

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/topic"
)

// begunAfter gives a judge for sessions that began after a moment.
func begunAfter(at time.Time) Judge {
	return func(s Standing) (Standing, bool) { return s, s.Began.After(at) }
}

func TestReview(t *testing.T) {
	f := start(t, nil)
	d := device(t, "p:n")
	cut := time.Unix(1000, 0)
	session := func(began time.Time) Standing {
		return Standing{Device: d, Permissions: topic.Own(d), Began: began}
	}
	for _, version := range []byte{4, 5} {
		old := f.mustConnect(connectPacket{version: version, id: anonA}).mustSubscribe("signet/v1/" + anonA + "/ev")
		young := f.mustConnect(connectPacket{version: version, id: anonB}).mustSubscribe("signet/v1/" + anonB + "/ev")
		bystander := f.mustConnect(as("p:m", version))
		if err := errors.Join(f.Upgrade(anonA, session(cut)), f.Upgrade(anonB, session(cut.Add(time.Second)))); err != nil {
			t.Fatal(err)
		}
		if n := f.Review(d, begunAfter(cut), ReasonAdministrative, []byte("come again")); n != 1 {
			t.Errorf("%d connections were ended, want the old one", n)
		}
		if _, got := old.message(); got != "come again" {
			t.Errorf("got %q", got)
		}
		old.ended(ReasonAdministrative)
		young.ping()
		bystander.ping()
		// What the judge gives is what counts, its end included.
		f.Review(d, func(s Standing) (Standing, bool) {
			s.Permissions, s.Expires = topic.Permissions{}, time.Now().Add(50*time.Millisecond)
			return s, true
		}, ReasonAdministrative, nil)
		young.ended(ReasonExpired)
		// A judge can't give a connection to another device.
		f.mustConnect(as("p:n", version))
		if n := f.Review(d, func(s Standing) (Standing, bool) { s.Device = device(t, "p:m"); return s, true }, ReasonAdministrative, nil); n != 1 {
			t.Errorf("%d were ended, want the one that changed its device", n)
		}
		bystander.nc.Close()
		eventually(t, "they are gone", func() bool { return f.Count() == 0 })
	}
}

// A Review between a decision to admit and its effect counts.
func TestReviewDuringAdmission(t *testing.T) {
	for _, keep := range []bool{true, false} {
		f := start(t, func(_ *Config, fx *fixture) { fx.gate.hold, fx.gate.held = make(chan struct{}), make(chan struct{}) })
		c := f.dial()
		c.v = 5
		c.send(as("p:n", 5).bytes())
		<-f.gate.held
		narrow := func(s Standing) (Standing, bool) { s.Permissions = topic.Permissions{}; return s, keep }
		f.Review(device(t, "p:n"), narrow, ReasonAdministrative, nil)
		f.Review(device(t, "p:m"), over, ReasonAdministrative, nil)
		close(f.gate.hold)
		kind, body := c.next()
		if kind != 0x20 || (body[1] == 0) != keep {
			t.Errorf("keep %v: packet %#x %x", keep, kind, body)
		}
		if !keep {
			c.closed()
		} else if code := c.subscribe("devices/p/n/#"); code != 0x87 {
			t.Errorf("admitted under the old grant: code %#x", code)
		}
	}
}

func TestReviewDuringUpgrade(t *testing.T) {
	for _, keep := range []bool{true, false} {
		upgraded := make(chan error, 1)
		f := start(t, func(c *Config, fx *fixture) {
			c.Respond = func(_ context.Context, q Request) []byte {
				d := device(t, "p:n")
				fx.Review(d, func(s Standing) (Standing, bool) { return s, keep }, ReasonAdministrative, nil)
				upgraded <- fx.Upgrade(q.ClientID, Standing{Device: d, Permissions: topic.Own(d)})
				return nil
			}
		})
		c := f.mustConnect(connectPacket{version: 5, id: anonA})
		c.publish(0, "signet/v1/"+anonA+"/rq", "x")
		if err := <-upgraded; keep && err != nil || !keep && !errors.Is(err, ErrEnded) {
			t.Errorf("keep %v: %v", keep, err)
		}
		if code := c.subscribe("devices/p/n/#"); (code == 0) != keep {
			t.Errorf("keep %v: code %#x", keep, code)
		}
	}
}

// byPassword is a judge who ends those that came by a password.
func byPassword(s Standing) (Standing, bool) { return s, !s.Password }

// A review of a pool ends those of its connections that its judge says, and no other pool's.
func TestReviewPool(t *testing.T) {
	f := start(t, nil)
	pool := device(t, "p:n").Pool
	conns := map[string]*raw{}
	for i, d := range []string{"p:n", "p:m", "q:n"} {
		id := fmt.Sprintf("anon-%032d", i)
		conns[d] = f.mustConnect(connectPacket{version: 5, id: id}).mustSubscribe("signet/v1/" + id + "/ev")
		if err := f.Upgrade(id, Standing{Device: device(t, d), Permissions: topic.Own(device(t, d)), Password: d != "p:m"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.ReviewPool(pool, byPassword, ReasonAdministrative, []byte("come again")); n != 1 {
		t.Errorf("%d were ended, want one", n)
	}
	if _, got := conns["p:n"].message(); got != "come again" {
		t.Errorf("got %q", got)
	}
	conns["p:n"].ended(ReasonAdministrative)
	conns["p:m"].ping()
	conns["q:n"].ping()
}

// A review of a pool counts for decisions under way, and many of them at once for all.
func TestReviewPoolMarks(t *testing.T) {
	r := newRegistry()
	in, out := Standing{Device: device(t, "p:n"), Password: true}, Standing{Device: device(t, "q:n"), Password: true}
	since := r.begin()
	r.reviewPool(in.Device.Pool, byPassword)
	if _, ok := r.heedLocked(in, since); ok {
		t.Error("a decision from before the review is carried out")
	}
	if _, ok := r.heedLocked(out, since); !ok {
		t.Error("another pool's is refused")
	}
	if _, ok := r.heedLocked(in, r.begin()); !ok {
		t.Error("a decision begun after is refused")
	}
	for range maxReviews {
		r.reviewPool(out.Device.Pool, byPassword)
	}
	if _, ok := r.heedLocked(Standing{Device: in.Device}, since); ok || len(r.pools) > maxReviews {
		t.Errorf("%d are kept, and one from before all of them is carried out: %v", len(r.pools), ok)
	}
	r.finish()
	r.finish()
	if len(r.pools) > 0 {
		t.Errorf("%d are kept although nothing is under way", len(r.pools))
	}
}

// The end of a pool counts for its devices, for their admissions and upgrades under
// way, and for no other pool's connections.
func TestEndPool(t *testing.T) {
	f := start(t, nil)
	p := device(t, "p:n").Pool
	one := f.mustConnect(as("p:n", 5)).mustSubscribe("signet/v1/p:n/ev")
	two, other := f.mustConnect(as("p:m", 4)), f.mustConnect(as("q:n", 5))
	if !f.Knows(device(t, "p:n")) {
		t.Error("does not know p:n")
	}
	eventually(t, "every admission is over", func() bool { return !f.Knows(device(t, "p:x")) })
	f.EndPool(p, ReasonAdministrative, []byte("it is over"))
	if _, got := one.message(); got != "it is over" {
		t.Errorf("got %q", got)
	}
	one.ended(ReasonAdministrative)
	two.ended(ReasonAdministrative)
	other.ping()
	f.mustConnect(as("p:n", 5)) // whoever decides that a pool is there again decides rightly
}

func TestEndPoolDuringAdmission(t *testing.T) {
	f := start(t, func(_ *Config, fx *fixture) { fx.gate.hold, fx.gate.held = make(chan struct{}), make(chan struct{}) })
	c := f.dial()
	c.v = 5
	c.send(as("p:n", 5).bytes())
	<-f.gate.held
	if !f.Knows(device(t, "p:n")) {
		t.Error("a device whose admission is under way is not known")
	}
	f.EndPool(device(t, "p:n").Pool, ReasonAdministrative, nil)
	close(f.gate.hold)
	if kind, body := c.next(); kind != 0x20 || body[1] == 0 {
		t.Errorf("packet %#x %x", kind, body)
	}
	c.closed()
}

func TestEndPoolDuringUpgrade(t *testing.T) {
	upgraded := make(chan error, 1)
	f := start(t, func(c *Config, fx *fixture) {
		c.Respond = func(_ context.Context, q Request) []byte {
			d := device(t, "p:n")
			fx.EndPool(d.Pool, ReasonAdministrative, nil)
			upgraded <- fx.Upgrade(q.ClientID, Standing{Device: d, Permissions: topic.Own(d)})
			return nil
		}
	})
	c := f.mustConnect(connectPacket{version: 5, id: anonA})
	c.publish(0, "signet/v1/"+anonA+"/rq", "x")
	if err := <-upgraded; !errors.Is(err, ErrEnded) {
		t.Errorf("upgraded into a pool that ended meanwhile: %v", err)
	}
}

// An End counts even if a Review that keeps everything comes after it, and the
// marks of many devices are bounded: then every decision under way is refused.
func TestMarks(t *testing.T) {
	r := newRegistry()
	d := device(t, "p:n")
	keep := func(s Standing) (Standing, bool) { return s, true }
	since := r.begin()
	r.end(d)
	r.review(d, keep)
	if _, ok := r.heedLocked(Standing{Device: d}, since); ok {
		t.Error("a Review undid an End")
	}
	if _, ok := r.heedLocked(Standing{Device: d}, r.begin()); !ok {
		t.Error("a decision begun after is refused")
	}
	r.finish()
	r.finish()
	since = r.begin()
	other := Standing{Device: device(t, "p:other")}
	for i := range maxMarks {
		r.review(device(t, fmt.Sprintf("p:n%d", i)), keep)
	}
	if _, ok := r.heedLocked(other, since); !ok || len(r.marks) != maxMarks {
		t.Errorf("%d marks, others admitted: %v", len(r.marks), ok)
	}
	r.end(d)
	if _, ok := r.heedLocked(other, since); ok || len(r.marks) != 1 {
		t.Errorf("%d marks, others admitted: %v, want all refused", len(r.marks), ok)
	}
	if _, ok := r.heedLocked(Standing{}, since); !ok {
		t.Error("an anonymous client is refused")
	}
}

// What the end of a device takes, at most, is well below the second that is promised.
func TestEndIsPrompt(t *testing.T) {
	if hangUpGrace > time.Second/3 {
		t.Errorf("hanging up may take %v, twice in the worst case: more than a second together with its surroundings", hangUpGrace)
	}
}

// Upgrade sets the connection's end; renewing on the same connection moves it.
func TestUpgradeExpires(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		d := device(t, "p:n")
		renewed, left := b.join(anonA, stranger), b.join(anonB, stranger)
		soon := time.Now().Add(time.Minute)
		for _, at := range []struct {
			id      string
			expires time.Time
		}{{anonA, soon}, {anonB, soon.Add(time.Second)}, {anonA, soon.Add(time.Hour)}} {
			if err := b.Upgrade(at.id, Standing{Device: d, Permissions: topic.Own(d), Expires: at.expires}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		left.want()
		time.Sleep(time.Second)
		left.want("disconnect 0xa0", "closed")
		time.Sleep(time.Hour - 2*time.Second)
		renewed.want()
		time.Sleep(time.Second)
		renewed.want("disconnect 0xa0", "closed")
	})
}
