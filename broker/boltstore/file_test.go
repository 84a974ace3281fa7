package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

func TestOpenHeldByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	seedCrash(t, path)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan error, 1)
	defer func() {
		killErr := cmd.Process.Kill()
		<-drained
		if err := cmd.Wait(); killErr != nil || err == nil {
			t.Errorf("kill the child: %v, %v", killErr, err)
		}
	}()
	_, err = io.ReadFull(out, make([]byte, 1)) // it writes, so it has the file
	go func() {
		_, err := io.Copy(io.Discard, out)
		drained <- err
	}()
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []func() error{
		func() error { _, err := Open(t.Context(), path, Options{LockWait: time.Millisecond}); return err },
		func() error { return Check(t.Context(), path) },
		func() error { _, err := Look(t.Context(), path); return err },
	} {
		var held *HeldError
		if err := open(); !errors.As(err, &held) || held.PID != cmd.Process.Pid {
			t.Errorf("got %v, want that process %d holds the store", err, cmd.Process.Pid)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  func(error) bool
	}{
		{"newer format", func(t *testing.T, path string) {
			inFile(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyFormat), []byte("2")) })
		}, func(err error) bool {
			var newer *NewerError
			return errors.As(err, &newer) && newer.Found == 2 && newer.Supported == FormatVersion
		}},
		{"no format", func(t *testing.T, path string) {
			inFile(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucketMeta)).Delete([]byte(keyFormat)) })
		}, isDamaged},
		{"another program's file", func(t *testing.T, path string) {
			inFile(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte(bucketMeta)) })
		}, isDamaged},
		{"text", func(t *testing.T, path string) { write(t, path, bytes.Repeat([]byte("no store "), 4096)) }, isDamaged},
		{"cut short", func(t *testing.T, path string) { truncate(t, path, 3*4096) }, isDamaged},
		{"cut to its first page", func(t *testing.T, path string) { truncate(t, path, 4096) }, func(err error) bool { return err != nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			seedCrash(t, path)
			tt.spoil(t, path)
			was := read(t, path)
			s, err := Open(t.Context(), path, Options{})
			if err == nil {
				t.Fatal(errors.Join(errors.New("opened"), s.Close()))
			}
			if !tt.want(err) {
				t.Errorf("wrong error: %v", err)
			}
			if !bytes.Equal(was, read(t, path)) {
				t.Error("the refused file was changed")
			}
		})
	}
}

func isDamaged(err error) bool { return errors.Is(err, ErrDamaged) }

func inFile(t *testing.T, path string, f func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(f), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// seeded gives an open store with a pool and an active device.
func seeded(t testing.TB, opts Options) (*Store, broker.Device) {
	t.Helper()
	s := openStore(t, filepath.Join(t.TempDir(), "store"), opts)
	p := identtest.Pool(t, childPool)
	if err := addPool(t.Context(), s, broker.Pool{Name: p, Issuer: "https://signet.example/pools/" + p.String()}); err != nil {
		t.Fatal(err)
	}
	return s, addDevice(t, s, "one")
}

// addDevices gives n devices, for tests of more sessions than are kept of one.
func addDevices(t testing.TB, s *Store, n int) (all []broker.Device) {
	t.Helper()
	for i := range n {
		all = append(all, addDevice(t, s, fmt.Sprintf("more-%d", i)))
	}
	return all
}

func addDevice(t testing.TB, s *Store, name string) broker.Device {
	t.Helper()
	id := identtest.Device(t, childPool+":"+name)
	d := broker.Device{ID: id, Subject: newUUID(), Status: broker.StatusActive}
	if err := s.CreateDevice(t.Context(), by(), d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBackupWhileWriting(t *testing.T) {
	s, _ := seeded(t, Options{})
	devices := addDevices(t, s, 12)
	var before []ident.UUID
	for i := range 200 {
		l := testLogin(devices[4+i%8])
		if _, err := s.RecordLogin(t.Context(), by(), l); err != nil {
			t.Fatal(err)
		}
		before = append(before, l.Session.ID)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.RecordLogin(ctx, by(), testLogin(devices[i])); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
					return
				}
			}
		})
	}
	var copied bytes.Buffer
	n, err := s.Backup(t.Context(), &copied)
	stop()
	wg.Wait()
	if err != nil || n != int64(copied.Len()) {
		t.Fatalf("backup of %d bytes said %d: %v", copied.Len(), n, err)
	}
	path := filepath.Join(t.TempDir(), "restored")
	if err := Restore(t.Context(), path, &copied); err != nil {
		t.Fatal(err)
	}
	restored := openStore(t, path, Options{})
	for _, id := range before {
		if _, err := restored.Session(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if err := Restore(t.Context(), path, bytes.NewReader(nil)); !errors.Is(err, broker.ErrExists) {
		t.Errorf("restore over a store: %v", err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	s, _ := seeded(t, Options{})
	var whole bytes.Buffer
	if _, err := s.Backup(t.Context(), &whole); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole.Bytes())
	flipped[len(flipped)/2] ^= 1
	for name, b := range map[string][]byte{
		"empty": nil, "cut": whole.Bytes()[:whole.Len()-1], "half": whole.Bytes()[:whole.Len()/2],
		"longer": append(bytes.Clone(whole.Bytes()), 0), "a bit flipped": flipped, "no store": []byte("hello"),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "restored")
			if err := Restore(t.Context(), path, bytes.NewReader(b)); !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v, want ErrDamaged", err)
			}
			if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// planned makes commits fail as a test says.
type planned struct {
	mu   sync.Mutex // guards the fields
	err  error
	seen []int
	hold chan struct{} // if set, the next commit waits until it is closed
}

func (p *planned) BeforeCommit(changes int) error {
	p.mu.Lock()
	p.seen = append(p.seen, changes)
	hold, err := p.hold, p.err
	p.hold = nil
	p.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return err
}

func (p *planned) set(err error, hold chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err, p.hold = err, hold
}

func TestFailedCommitWritesNothing(t *testing.T) {
	faults := &planned{}
	s, d := seeded(t, Options{Faults: faults})
	last, err := s.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fault := errors.New("disk is on fire")
	faults.set(fault, nil)
	l := testLogin(d)
	if _, err := s.RecordLogin(t.Context(), by(), l); !errors.Is(err, fault) {
		t.Fatalf("got %v", err)
	}
	faults.set(nil, nil)
	if _, err := s.Session(t.Context(), l.Session.ID); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("session after the failure: %v", err)
	}
	if _, err := s.RecordLogin(t.Context(), by(), l); err != nil {
		t.Errorf("after the failure: %v", err)
	}
	if all, err := s.Since(t.Context(), last, 10); err != nil || len(all) != 1 || all[0].Seq != last+1 || all[0].Session != l.Session.ID {
		t.Errorf("records of a failure and a success: %+v, %v", all, err)
	}
}

// TestAFailedLoginIsNotKnown: what a login does to its device's sessions in a batch that is not committed, because
// the disk fails or because another change of the batch does, no later login takes for done.
func TestAFailedLoginIsNotKnown(t *testing.T) {
	faults := &planned{}
	s, d := seeded(t, Options{Faults: faults, SweepEvery: -1})
	stop := errors.New("stop")
	login := func(want error) {
		t.Helper()
		l := testLogin(d)
		l.MaxSessions = 1
		if _, err := s.RecordLogin(t.Context(), by(), l); !errors.Is(err, want) {
			t.Errorf("login: %v, want %v", err, want)
		}
		checkKnown(t, s)
	}
	live := func(want int) {
		t.Helper()
		all, err := s.ListSessions(t.Context(), d.ID)
		if n := len(slices.DeleteFunc(all, func(x broker.Session) bool { return x.Revoked })); n != want || err != nil {
			t.Errorf("%d live sessions, want %d: %v", n, want, err)
		}
	}
	login(nil)
	faults.set(stop, nil)
	login(stop)
	faults.set(nil, nil)
	login(nil)
	live(1)
	// A batch of a login and a change that writes and fails: the login is run again without it.
	hold := make(chan struct{})
	faults.set(nil, hold)
	var wg sync.WaitGroup
	wg.Go(func() { login(nil) })
	for faults.holding() {
		time.Sleep(time.Millisecond)
	}
	wg.Go(func() { login(nil) })
	for len(s.queue) < 1 {
		time.Sleep(time.Millisecond)
	}
	wg.Go(func() {
		err := s.update(t.Context(), by(), "fail", func(c *change) error {
			return errors.Join(c.put(c.tx.Bucket([]byte(bucketSecrets)), []byte("bad"), nil), stop)
		})
		if !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
	})
	for len(s.queue) < 2 {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	wg.Wait()
	login(nil)
	live(1)
}

// TestBatch holds a commit until many changes wait: they must share the next one,
// and those that fail, panic or are withdrawn must not spoil the others.
func TestBatch(t *testing.T) {
	faults := &planned{}
	s, d := seeded(t, Options{Faults: faults, SweepEvery: -1})
	devices := addDevices(t, s, 10)
	hold := make(chan struct{})
	faults.set(nil, hold)
	first := make(chan error, 1)
	go func() { _, err := s.RecordLogin(t.Context(), by(), testLogin(d)); first <- err }()
	for faults.holding() {
		time.Sleep(time.Millisecond)
	}
	begun, err := s.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const n = 300
	ctx, cancel := context.WithCancel(t.Context())
	errs := make([]error, n)
	var wg sync.WaitGroup
	stop := errors.New("stop")
	for i := range n {
		wg.Go(func() {
			switch i % 10 {
			case 0:
				errs[i] = s.update(t.Context(), by(), "fail", func(c *change) error {
					return errors.Join(c.put(c.tx.Bucket([]byte(bucketSecrets)), fmt.Appendf(nil, "bad %d", i), nil), stop)
				})
			case 1:
				errs[i] = s.update(t.Context(), by(), "panic", func(*change) error { panic("on purpose") })
			case 2:
				_, errs[i] = s.RecordLogin(ctx, by(), testLogin(devices[i/10%10]))
			default:
				_, errs[i] = s.RecordLogin(t.Context(), by(), testLogin(devices[i/10%10]))
			}
		})
	}
	for len(s.queue) < n {
		time.Sleep(time.Millisecond)
	}
	commits := s.Figures().Commits
	cancel()
	close(hold)
	wg.Wait()
	if err := <-first; err != nil {
		t.Error(err)
	}
	logins := 1 // the first
	for i, err := range errs {
		good := err == nil
		if good {
			logins++
		}
		switch i % 10 {
		case 0:
			good = errors.Is(err, stop)
		case 1:
			good = err != nil
		case 2:
			good = err == nil || errors.Is(err, context.Canceled)
		}
		if !good {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if got := s.Figures().Commits - commits; got > 3 {
		t.Errorf("%d commits for %d changes that waited together", got, n)
	}
	records, err := s.Since(t.Context(), begun, 1000)
	if err != nil || len(records) != logins || records[logins-1].Seq != begun+uint64(logins) {
		t.Errorf("%d records of %d writes that went well: %v", len(records), logins, err)
	}
	err = s.view(t.Context(), "look", func(tx *bolt.Tx) error {
		if k, _ := tx.Bucket([]byte(bucketSecrets)).Cursor().First(); k != nil {
			t.Errorf("a failed change left %q", k)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestSeveralAreWaitedFor: where several write at a time a batch is kept open for more; who writes alone does not wait.
func TestSeveralAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := &planned{}
		s, d := seeded(t, Options{Faults: faults, SweepEvery: -1})
		var wg sync.WaitGroup
		login := func(n int) {
			for range n {
				wg.Go(func() {
					if _, err := s.RecordLogin(t.Context(), by(), testLogin(d)); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
		}
		for _, tt := range []struct {
			n       int // write at a time, and one more a little later
			waited  time.Duration
			batches []int
		}{{1, 0, []int{1, 1}}, {2, gatherFor, []int{3}}, {manyWrite, 0, []int{manyWrite, 1}}} {
			hold := make(chan struct{})
			faults.set(nil, hold)
			login(1)
			login(tt.n)
			faults.seen = nil
			began := time.Now()
			close(hold)
			synctest.Wait()
			login(1)
			wg.Wait()
			if took := time.Since(began); took != tt.waited || !slices.Equal(faults.seen, tt.batches) {
				t.Errorf("%d at a time: batches of %d in %v, want %d in %v", tt.n, faults.seen, took, tt.batches, tt.waited)
			}
		}
	})
}

func (p *planned) holding() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hold != nil
}

func TestCloseDrains(t *testing.T) {
	faults := &planned{}
	s, d := seeded(t, Options{Faults: faults, SweepEvery: -1})
	hold := make(chan struct{})
	faults.set(nil, hold)
	errs := make(chan error, 50)
	record := func() { _, err := s.RecordLogin(t.Context(), by(), testLogin(d)); errs <- err }
	go record()
	for faults.holding() { // until the writer is in its commit
		time.Sleep(time.Millisecond)
	}
	for range cap(errs) - 1 {
		go record()
	}
	for len(s.queue) < cap(errs)-1 {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	close(hold)
	wrote := 0
	for range cap(errs) {
		if err := <-errs; err == nil {
			wrote++
		} else if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if err := <-closed; err != nil || wrote != cap(errs) {
		t.Errorf("%d writes drained: %v", wrote, err)
	}
	if _, err := s.Device(t.Context(), d.ID); !errors.Is(err, ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	if _, err := s.RecordLogin(t.Context(), by(), testLogin(d)); !errors.Is(err, ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	again := openStore(t, s.path, Options{})
	all, err := again.ListSessions(t.Context(), d.ID)
	if err != nil || len(all) != wrote {
		t.Errorf("%d sessions on disk, %d acknowledged: %v", len(all), wrote, err)
	}
	if _, err := os.Stat(pidPath(s.path)); err != nil {
		t.Error(err)
	}
}
