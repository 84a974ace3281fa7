package boltstore

import (
	"bufio"
	"context"
	cryptorand "crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// The crash test runs this test binary again as a child that writes to a store
// until it is killed.
const (
	childEnv  = "SIGNET_STORE_CHILD" // the store's path
	roundsEnv = "SIGNET_KILL_ROUNDS" // of which this test does a tenth; 20 kills if unset
	childPool = "crash"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := runChild(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runChild writes for ever, and prints a line for each write that was acknowledged:
// "login UUID", "try UUID COUNT", "rotate UUID GENERATION", "enroll NAME", and with each
// "wrote REQUEST RECORDS".
func runChild(path string) error {
	ctx := context.Background()
	s, err := Open(ctx, path, Options{SweepEvery: time.Millisecond})
	if err != nil {
		return err
	}
	p, err := ident.ParsePool(childPool)
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards standard output: whole lines only
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	failed := make(chan error)
	for range 8 {
		go func() {
			for {
				if err := childStep(ctx, s, p, say); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

func childStep(ctx context.Context, s *Store, p ident.Pool, say func(string, ...any)) error {
	n, err := ident.ParseName(fmt.Sprintf("d-%x", rand.Uint64()))
	if err != nil {
		return err
	}
	d := broker.Device{ID: ident.Device{Pool: p, Name: n}, Subject: newUUID(), Status: broker.StatusActive,
		Authenticators: []broker.Authenticator{testKey(n.String())}}
	// Each write has a request of its own, by which it is found in the journal.
	own := func(what string) broker.By {
		return broker.By{Actor: broker.DeviceActor(d.ID), Request: fmt.Sprintf("%s-%x", what, rand.Uint64())}
	}
	l := testLogin(d)
	l.Enroll = &broker.Enrollment{Device: d, TokenID: "many", Now: time.Now()}
	by := own("enroll")
	if _, err := s.RecordLogin(ctx, by, l); err != nil {
		return err
	}
	say("enroll %s", n)
	say("login %s", l.Session.ID)
	say("wrote %s 3", by.Request) // device, token, session
	l, by = testLogin(d), own("login")
	if _, err := s.RecordLogin(ctx, by, l); err != nil {
		return err
	}
	say("login %s", l.Session.ID)
	say("wrote %s 1", by.Request)
	by = own("rotate")
	x, err := s.UpdateSession(ctx, by, l.Session.ID, func(x *broker.Session, _ *broker.Device) error { x.Generation++; return nil })
	if err != nil {
		return err
	}
	say("rotate %s %d", x.ID, x.Generation)
	say("wrote %s 1", by.Request)
	by = own("try")
	tried, err := s.Try(ctx, by, triesOf(l.Session.ID), broker.TryMark(newUUID()), time.Now())
	if err != nil {
		return err
	}
	say("try %s %d", l.Session.ID, tried.N) // which has no record
	return nil
}

// triesOf is an exchange's account of tries.
func triesOf(exchange ident.UUID) broker.TryOf { return broker.TryOf{Exchange: exchange} }

// newUUID gives a random UUIDv7 of now.
func newUUID() ident.UUID {
	u, err := ident.NewUUID(time.Now(), cryptorand.Reader)
	if err != nil {
		panic(err) // the system has no randomness, or a clock before 1970
	}
	return u
}

// testKey is an authenticator whose key is text.
func testKey(text string) broker.Authenticator {
	return broker.Authenticator{ID: sha256.Sum256([]byte(text)), Kind: challenge.Key, Key: []byte(text)}
}

func testLogin(d broker.Device) broker.Login {
	now := time.Now()
	return broker.Login{Session: broker.Session{ID: newUUID(), Device: d.ID, Subject: d.Subject, Client: broker.DefaultClient,
		Created: now, Expires: now.Add(24 * time.Hour), Generation: 1, Handle: make([]byte, 32)}}
}

// acknowledged is all that the children said was written.
type acknowledged struct {
	logins, enrolled []string
	rotated, tries   map[string]int
	wrote            map[string]int // records of each request
	journal          reader
}

// A reader follows the journal over the kills, and counts what it reads.
type reader struct {
	after    uint64
	requests map[string]int // records of each request
	rows     map[string]int // records of new rows, by kind and what
}

func newAcknowledged() *acknowledged {
	return &acknowledged{rotated: map[string]int{}, tries: map[string]int{}, wrote: map[string]int{},
		journal: reader{requests: map[string]int{}, rows: map[string]int{}}}
}

// read reads on where it was: no number is left out.
func (r *reader) read(t *testing.T, s *Store) {
	t.Helper()
	for {
		some, err := s.Since(t.Context(), r.after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range some {
			if x.Seq != r.after+1 {
				t.Fatalf("record %d comes after record %d", x.Seq, r.after)
			}
			r.after = x.Seq
			r.requests[x.By.Request]++
			r.rows[string(x.Kind)+" "+string(x.What)]++
		}
		if len(some) == 0 {
			return
		}
	}
}

func (a *acknowledged) read(line string) error {
	var kind, id string
	n := 0
	if _, err := fmt.Sscan(line, &kind, &id, &n); err != nil && kind != "login" && kind != "enroll" {
		return fmt.Errorf("child said %q: %w", line, err)
	}
	switch kind {
	case "login":
		a.logins = append(a.logins, id)
	case "enroll":
		a.enrolled = append(a.enrolled, id)
	case "rotate":
		a.rotated[id] = n
	case "try":
		a.tries[id] = n
	case "wrote":
		a.wrote[id] = n
	default:
		return fmt.Errorf("child said %q", line)
	}
	return nil
}

func TestKill(t *testing.T) {
	rounds := 20
	if s := os.Getenv(roundsEnv); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", roundsEnv, err)
		}
		rounds = max(n/10, 3) // test/kill does as many with the whole of signetd
	}
	if testing.Short() {
		rounds = 3
	}
	path := filepath.Join(t.TempDir(), "store")
	pool := seedCrash(t, path)
	acked := newAcknowledged()
	for round := range rounds {
		before := len(acked.logins)
		killChild(t, path, acked, 1+rand.IntN(400))
		checkAcknowledged(t, path, pool, acked, before)
		if t.Failed() {
			t.Fatalf("round %d of %d, %d logins acknowledged", round+1, rounds, len(acked.logins))
		}
	}
	if err := Check(t.Context(), path); err != nil {
		t.Error(err)
	}
	t.Logf("%d rounds, %d logins acknowledged", rounds, len(acked.logins))
}

func seedCrash(t *testing.T, path string) ident.Pool {
	t.Helper()
	s := openStore(t, path, Options{})
	p := identtest.Pool(t, childPool)
	if err := addPool(t.Context(), s, broker.Pool{Name: p, Issuer: "https://signet.example/pools/" + p.String()}); err != nil {
		t.Fatal(err)
	}
	if err := save(t, s, broker.EnrollTokenKind(), broker.EnrollToken{Pool: p, ID: "many", Uses: broker.MaxEnrollUses}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return p
}

// killChild lets a child write, and kills it some moment after it has said lines things.
func killChild(t *testing.T, path string, acked *acknowledged, lines int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for sc, n := bufio.NewScanner(out), 1; sc.Scan(); n++ {
		if err := acked.read(sc.Text()); err != nil {
			t.Error(err)
		}
		if n == lines {
			time.Sleep(rand.N(2 * time.Millisecond)) // a moment that the writer doesn't choose
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("child ended by itself: %v", err)
	}
}

// checkAcknowledged opens the store as it was left. Logins before the number
// given were checked in an earlier round and are looked at by sample only.
func checkAcknowledged(t *testing.T, path string, pool ident.Pool, acked *acknowledged, before int) {
	t.Helper()
	s := openStore(t, path, Options{SweepEvery: -1})
	defer s.Close()
	checkJournal(t, s, pool, acked)
	for i, id := range acked.logins {
		if i < before && i%17 != 0 {
			continue
		}
		u, err := ident.ParseUUID(id)
		if err != nil {
			t.Fatal(err)
		}
		x, err := s.Session(t.Context(), u)
		if err != nil {
			t.Fatalf("acknowledged and lost: %v", err)
		}
		if int(x.Generation) < acked.rotated[id] {
			t.Errorf("session %s is at generation %d, %d was acknowledged", id, x.Generation, acked.rotated[id])
		}
		if want := acked.tries[id]; want > 0 {
			if n, err := s.Try(t.Context(), by(), triesOf(u), broker.TryMark(newUUID()), time.Now()); err != nil || n.N <= want && n.Wait == 0 {
				t.Errorf("try %d of %s after %d were counted: %v", n.N, id, want, err)
			}
			acked.tries[id]++
		}
		if i%29 == 0 {
			checkListed(t, s, x)
		}
	}
	tok, err := s.EnrollToken(t.Context(), pool, "many")
	if err != nil || tok.Used < len(acked.enrolled) {
		t.Errorf("%d uses of the token for %d enrollments: %v", tok.Used, len(acked.enrolled), err)
	}
}

// checkJournal: every acknowledged write is in the journal, with all of its records and
// once; and what was never acknowledged has its row and its record, or neither.
func checkJournal(t *testing.T, s *Store, pool ident.Pool, acked *acknowledged) {
	t.Helper()
	j := &acked.journal
	j.read(t, s)
	for request, want := range acked.wrote {
		if n := j.requests[request]; n != want {
			t.Errorf("%d records of %s, which was acknowledged with %d", n, request, want)
		}
	}
	for request, n := range j.requests {
		if strings.HasPrefix(request, "enroll-") && n != 3 || strings.HasPrefix(request, "login-") && n != 1 {
			t.Errorf("%d records of %s", n, request)
		}
	}
	rows := map[string]int{"session login": countRows(t, s, bucketSessions)}
	err := s.view(t.Context(), "count", func(tx *bolt.Tx) error {
		b, err := inPool(tx, pool)
		if err == nil {
			err = b.Bucket([]byte(poolDevices)).ForEach(func(_, _ []byte) error { rows["device create"]++; return nil })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := s.EnrollToken(t.Context(), pool, "many")
	if err != nil {
		t.Fatal(err)
	}
	rows["enrollment count"] = tok.Used
	for what, n := range rows {
		if j.rows[what] != n {
			t.Errorf("%d rows of %q and %d records", n, what, j.rows[what])
		}
	}
}

func checkListed(t *testing.T, s *Store, x broker.Session) {
	t.Helper()
	all, err := s.ListSessions(t.Context(), x.Device)
	if err != nil {
		t.Error(err)
	}
	for _, y := range all {
		if y.ID == x.ID {
			return
		}
	}
	t.Errorf("session %s is missing in its device's list", x.ID)
}
