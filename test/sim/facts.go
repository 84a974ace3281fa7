package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// facts is what is known to have happened, independently of the code under test,
// and what has been found to break the rules.
type facts struct {
	// mu guards the fields below. It is held over each commit of the store, so
	// that facts has commits in the store's own order.
	mu         sync.Mutex
	began      time.Time
	violations []string
	lines      []string
	digest     hash.Hash
	over       bool // the story is told
	disabled   map[ident.Device]bool
	families   map[ident.UUID]*family
	lost       map[ident.UUID]*family // those that began in what the store has lost
	granted    map[ident.UUID]int
	made       map[protocol.CallID]map[[32]byte]bool
	elsewhere  map[[32]byte]bool     // of these, those of messages that came on another connection than they name
	madeFor    map[[32]byte][32]byte // of these, the hash of what the refresh proved
	counts     map[string]int
	letters    map[uint32]*letter         // that devices have sent to themselves, by number
	under      string                     // a fault that lasts
	copied     map[ident.Device]bool      // others have the key, or the store was put back without a word
	renewed    map[ident.Device]time.Time // when a session of the device was, last
	back       map[ident.Device]time.Time // when a credential of the device was taken last
}

// A family is a session with all refresh tokens it ever had, by their handles.
type family struct {
	device    ident.Device
	ended     string    // why, empty while it lives
	endedAt   time.Time // by its device itself
	issued    map[string]bool
	successor map[string]string
}

func newFacts() *facts {
	return &facts{
		began: time.Now(), digest: sha256.New(), disabled: map[ident.Device]bool{}, families: map[ident.UUID]*family{}, lost: map[ident.UUID]*family{},
		granted: map[ident.UUID]int{}, made: map[protocol.CallID]map[[32]byte]bool{}, madeFor: map[[32]byte][32]byte{}, elsewhere: map[[32]byte]bool{}, counts: map[string]int{}, copied: map[ident.Device]bool{},
		letters: map[uint32]*letter{}, renewed: map[ident.Device]time.Time{}, back: map[ident.Device]time.Time{},
	}
}

// say adds a line to the story. Lines hold nothing random, only what happened when.
func (f *facts) say(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sayLocked(format, args...)
}

func (f *facts) sayLocked(format string, args ...any) {
	if f.over {
		return
	}
	line := fmt.Sprintf("%14s  ", time.Since(f.began)) + fmt.Sprintf(format, args...)
	fmt.Fprintln(f.digest, line)
	f.lines = append(f.lines, line)
}

// happens is say, counted.
func (f *facts) happens(what, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[what]++
	f.sayLocked(format, args...)
}

// count counts what is not worth a line.
func (f *facts) count(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[what]++
}

// counted is count, and tells the fault that it happens under, too. The caller holds mu.
func (f *facts) counted(what string) {
	f.counts[what]++
	if f.under != "" {
		f.counts[what+while+f.under]++
	}
}

// tally is all that was counted so far.
func (f *facts) tally() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts)
}

// add counts n at once.
func (f *facts) add(what string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[what] += n
}

// hear adds the bytes of a message to the digest.
func (f *facts) hear(raw []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.over {
		fmt.Fprintf(f.digest, "%14s  %x\n", time.Since(f.began), raw)
	}
}

// end ends the story: how the bubble is taken down does not belong to it.
func (f *facts) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
}

func (f *facts) violate(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.violateLocked(format, args...)
}

func (f *facts) violateLocked(format string, args ...any) {
	f.violations = append(f.violations, fmt.Sprintf(format, args...))
	f.sayLocked("VIOLATION "+format, args...)
}

// A request is one message at one replica, or an operator's command, with what it committed.
type request struct {
	who       *actor
	replica   *replica          // nil: an operator's
	lane      *lane             // that it came on
	handle    string            // of the refresh token that it presents
	proved    [sha256.Size]byte // the hash of what it proves, if it is a refresh
	exchange  ident.UUID
	committed bool
	login     bool
}

// loggedIn notes a committed login. The caller holds mu.
func (f *facts) loggedIn(r *request, s *broker.Session) {
	r.exchange, r.committed, r.login = s.ID, true, true
	if f.families[s.ID] != nil {
		f.violateLocked("an exchange of %s was recorded twice", s.Device)
		return
	}
	if f.disabled[s.Device] {
		f.violateLocked("a login of %s was committed after its disabling", s.Device)
	}
	fam := f.lost[s.ID]
	if fam == nil {
		fam = &family{device: s.Device, issued: map[string]bool{}, successor: map[string]string{}}
	}
	delete(f.lost, s.ID)
	fam.ended, fam.issued[string(s.Handle)] = "", true
	f.families[s.ID] = fam
	f.counted("login")
	f.sayLocked("login of %s committed", s.Device)
}

// refreshed notes a committed change of a session. The caller holds mu.
func (f *facts) refreshed(r *request, s *broker.Session) {
	fam := f.families[s.ID]
	if fam == nil {
		f.violateLocked("a session of %s was refreshed that nobody began", s.Device)
		return
	}
	if s.Revoked {
		fam.ended, fam.endedAt = "reuse", time.Now()
		f.counts["family ended by reuse"]++
		f.sayLocked("a family of %s ended by reuse", s.Device)
		return
	}
	r.exchange, r.committed = s.ID, true
	if f.disabled[s.Device] {
		f.violateLocked("a refresh of %s was committed after its disabling", s.Device)
	}
	if fam.ended != "" {
		f.violateLocked("a family of %s was refreshed after its end (%s)", s.Device, fam.ended)
	}
	next := string(s.Handle)
	if !fam.issued[r.handle] {
		f.violateLocked("a family of %s was refreshed with a token it never had", s.Device)
	}
	if old, ok := fam.successor[r.handle]; ok {
		f.counts["same successor again"]++
		if old != next {
			f.violateLocked("a refresh token of %s has two successors", s.Device)
		}
	}
	fam.successor[r.handle] = next
	fam.issued[next] = true
	if live := len(fam.issued) - len(fam.successor); live > 1 {
		f.violateLocked("a family of %s has %d live refresh tokens", s.Device, live)
	}
	f.renewed[s.Device] = time.Now()
	f.counted("refresh")
	f.sayLocked("refresh of %s committed", s.Device)
}

// notRefreshed notes that the store refused to refresh a session. The caller holds mu.
func (f *facts) notRefreshed(id ident.UUID, of ident.Device) {
	if f.disabled[of] {
		f.counts["commit of a refresh refused after disabling"]++
		return
	}
	if fam := f.families[id]; fam != nil && fam.ended == "disabling" {
		f.counts["refresh of a family from before a disabling refused"]++
	}
}

// changed notes a committed change of a device by an operator. The caller holds mu.
func (f *facts) changed(d *broker.Device) {
	f.disabled[d.ID] = d.Status != broker.StatusActive
	f.sayLocked("%s is %s", d.ID, d.Status)
	if d.SessionsRev != d.Rev {
		return // it ended no sessions
	}
	why := "revocation"
	if d.Status != broker.StatusActive {
		why = "disabling"
	}
	f.counted(why)
	for _, fam := range f.families {
		if fam.device == d.ID && fam.ended == "" {
			f.counts["family ended by "+why]++
			fam.ended = why
		}
	}
}

// admitted notes that a replica took a credential of a family.
func (f *facts) admitted(id ident.Device, session ident.UUID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.back[id] = time.Now()
	f.counted("credential taken")
	f.stands(id, session, "a credential of %s was taken after the end of its family (%s)")
}

// goesOn notes that a connection goes on when all is told that was changed.
func (f *facts) goesOn(id ident.Device, session ident.UUID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts["connection goes on after a change"]++
	if fam := f.families[session]; fam != nil && time.Since(fam.endedAt) < parting {
		return // its device's own doing: it has yet to hear of it
	}
	f.stands(id, session, "a connection of %s goes on after the end of its family (%s)")
}

// parting is how long a connection may go on whose session its device has ended itself.
const parting = 4 * time.Second

// begun gives the sessions that the store has, in an order that the seed gives.
func (f *facts) begun() (all []ident.UUID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, fam := range f.families {
		if fam.ended != "restore" {
			all = append(all, id)
		}
	}
	slices.SortFunc(all, func(a, b ident.UUID) int { return bytes.Compare(a[:], b[:]) })
	return all
}

// stands wants a standing to rest on a family that lives. The caller holds mu.
func (f *facts) stands(id ident.Device, session ident.UUID, format string) {
	switch fam := f.families[session]; {
	case fam == nil || fam.device != id:
		f.violateLocked("%s stands on a family that is not its own", id)
	case fam.ended != "":
		f.violateLocked(format, id, fam.ended)
	case f.disabled[id]:
		f.violateLocked(format, id, "it is disabled")
	}
}

// replied notes what a replica made of r.
func (f *facts) replied(r *request, reply *exchange.Reply) {
	m, err := protocol.Decode(reply.Message)
	if err != nil {
		f.violate("a replica sent what is no message: %v", err)
		return
	}
	switch m := m.(type) {
	case *protocol.Refusal:
		f.count("refused: " + m.Problem.Signet.Code.String())
	case *protocol.Grant:
		if reply.Admitted == nil {
			f.violate("a grant that admits nobody")
			return
		}
		f.grant(r, reply.Admitted, m)
		return
	}
	if reply.Admitted != nil {
		f.violate("%s was admitted without a grant", reply.Admitted.Standing.Device)
	}
}

// grant notes a grant that a replica made in answer to r.
func (f *facts) grant(r *request, a *exchange.Admission, g *protocol.Grant) {
	device := a.Standing.Device
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts["grant made"]++
	if !r.committed {
		f.violateLocked("%s was granted what was never committed", device)
	}
	if r.login {
		f.granted[r.exchange]++
		if n := f.granted[r.exchange]; n > 1 {
			f.violateLocked("an exchange of %s was granted %d times", device, n)
		}
	}
	if f.made[g.Call()] == nil {
		f.made[g.Call()] = map[[32]byte]bool{}
	}
	f.made[g.Call()][sha256.Sum256(g.Sealed)] = true
	f.madeFor[sha256.Sum256(g.Sealed)] = r.proved
	if !a.Here {
		f.elsewhere[sha256.Sum256(g.Sealed)] = true
	}
}

// saysRelayed judges what a device says of its connection, which the network relays or not,
// after reply: it is relayed, too, when the network took its message to another one.
func (f *facts) saysRelayed(id ident.Device, says, relayed bool, reply []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m, err := protocol.Decode(reply); err == nil && says && !relayed {
		if g, ok := m.(*protocol.Grant); ok && f.elsewhere[sha256.Sum256(g.Sealed)] {
			f.counts["device says relayed of a message that was taken elsewhere"]++
			return
		}
	}
	if says != relayed {
		f.violateLocked("%s says relayed: %v", id, says)
	}
}

// isMade reports whether a replica made g.
func (f *facts) isMade(g *protocol.Grant) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made[g.Call()][sha256.Sum256(g.Sealed)]
}

// isDisabled reports whether a disabling of the device is committed.
func (f *facts) isDisabled(id ident.Device) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.disabled[id]
}

// accepted notes that who took reply for a grant on its request.
func (f *facts) accepted(who string, request, reply []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts["grant accepted"]++
	f.sayLocked("%s accepted a grant", who)
	m, err := protocol.Decode(reply)
	g, ok := m.(*protocol.Grant)
	call, noCall := protocol.CallOf(request)
	if err != nil || !ok || noCall != nil || g.Call() != call {
		f.violateLocked("%s accepted for a grant of its call what is none", who)
		return
	}
	sum := sha256.Sum256(g.Sealed)
	if f.made[call][sum] {
		return
	}
	// The network may change a refresh's call id, and change it back in the grant: the id is not in what
	// a refresh proves and its grant is sealed to, its body is.
	if _, proved := refreshIn(request); proved != [sha256.Size]byte{} && f.madeFor[sum] == proved {
		f.counts["grant accepted whose call id was changed twice"]++
		return
	}
	f.violateLocked("%s accepted a grant that no replica made for its call", who)
}

// outcome is what the run came to.
func (f *facts) outcome() *Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &Outcome{Violations: f.violations, Story: f.lines, Digest: hex.EncodeToString(f.digest.Sum(nil)[:12]), Counts: f.counts}
}
