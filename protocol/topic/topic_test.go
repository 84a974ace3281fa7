package topic

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		f, g string
		want bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "a/b", false}, {"a/b", "a", false},
		{"a", "A", false}, {"a", "ab", false}, {"ab", "a", false}, {"a", "a/", false}, {"a/", "a", false},
		{"+", "a", true}, {"+", "a/b", false}, {"+", "/", false}, {"+/+", "/", true}, {"/+", "/a", true},
		{"+", "/a", false}, {"+", "+", true}, {"a", "+", false}, {"+", "#", false},
		{"#", "a", true}, {"#", "a/b/c", true}, {"#", "#", true}, {"#", "+", true}, {"#", "+/#", true},
		{"+/#", "#", true}, {"+/#", "a", true}, {"a/#", "a", true}, {"a/#", "a/#", true}, {"a/#", "#", false},
		{"a/#", "a/+", true}, {"a/#", "a/+/#", true}, {"a/+/#", "a/#", false}, {"a/+/#", "a", false},
		{"a/+/#", "a/b", true}, {"a/#", "ab", false}, {"a/#", "ab/c", false}, {"a/+", "a/#", false}, {"+/+/#", "+/#", false},
		{"#", "$SYS", false}, {"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"+/#", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true}, {"$SYS/#", "#", false}, {"$SYS/+", "$SYS/x", true}, {"a/+", "a/$x", true}, {"a/#", "a/$x/y", true},
		{"devices/p/n/#", "devices/p/n", true}, {"devices/p/n/#", "devices/p/nn/x", false},
		{"devices/p/n/#", "devices/p/+/x", false}, {"devices/p/n/#", "devices/+/n/#", false}, {"devices/p/n/#", "+/p/n/#", false},
	} {
		f, g := mustFilter(t, c.f), mustFilter(t, c.g)
		if got := f.Covers(g); got != c.want {
			t.Errorf("%q covers %q: %v, want %v", c.f, c.g, got, c.want)
		}
		if n, err := ParseName(c.g); err == nil && f.Matches(n) != c.want {
			t.Errorf("%q matches %q: want %v", c.f, c.g, c.want)
		}
	}
	if (Filter{}).Covers(Filter{}) || (Filter{}).Matches(Name{}) || mustFilter(t, "#").Matches(Name{}) {
		t.Error("a zero value matched")
	}
}

func TestParseRefuses(t *testing.T) {
	long, deep := strings.Repeat("x", MaxLen+1), strings.Repeat("/", MaxDepth)
	for _, s := range []string{
		"", long, deep, "a\x00b", "a\xffb", "\xed\xa0\x80", "a+", "+a", "a/b+/c", "#/a", "a/#/b", "a#", "##", "++", "a/##",
		"$share", "$share/g", "$share/g/a", "$SHARE/g/a", "$Share/x",
	} {
		if f, err := ParseFilter(s); !errors.Is(err, ErrInvalid) || !f.IsZero() {
			t.Errorf("filter %q: accepted", s)
		}
		if n, err := ParseName(s); !errors.Is(err, ErrInvalid) || !n.IsZero() {
			t.Errorf("name %q: accepted", s)
		}
	}
	for _, s := range []string{"+", "#", "a/+/b", "a/#"} {
		if _, err := ParseName(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("name %q: accepted", s)
		}
	}
	for _, s := range []string{strings.Repeat("x", MaxLen), deep[1:], "/", "a//b", " ", "$SYS/x", "é"} {
		if _, err := ParseName(s); err != nil {
			t.Errorf("name %q: %v", s, err)
		}
	}
}

func TestParseSubscription(t *testing.T) {
	for _, c := range []struct{ in, group, filter string }{
		{"a/+", "", "a/+"}, {"$share/g/a", "g", "a"}, {"$share/g/#", "g", "#"}, {"$share/g//a", "g", "/a"}, {"$SYS/x", "", "$SYS/x"},
	} {
		s, err := ParseSubscription(c.in)
		if err != nil || s.Group != c.group || s.Filter.String() != c.filter || s.String() != c.in {
			t.Errorf("%q: %+v, %v", c.in, s, err)
		}
	}
	for _, in := range []string{
		"$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a", "$SHARE/g/a", "$sharE/g/a",
		"$share/g/$share/h/secret", "$share/g/a#", "$share/" + strings.Repeat("g", MaxGroupLen+1) + "/a", "$share/\xff/a", "$share/\x00/a",
	} {
		if s, err := ParseSubscription(in); !errors.Is(err, ErrInvalid) || !s.Filter.IsZero() {
			t.Errorf("%q: accepted as %+v", in, s)
		}
	}
}

func TestClientID(t *testing.T) {
	hex := strings.Repeat("0f", 16)
	for _, c := range []struct {
		in, device string
	}{{"anon-" + hex, ""}, {"p:n", "p:n"}, {"p:n/2", "p:n"}, {"p:a:b/x", "p:a:b"}, {"anon-x:n", "anon-x:n"}} {
		id, err := ParseClientID(c.in)
		if err != nil || id.String() != c.in || id.Device().IsZero() != (c.device == "") || c.device != "" && id.Device().String() != c.device {
			t.Fatalf("%q: %+v, %v", c.in, id, err)
		}
		if want := "signet/v1/" + c.in + "/rq"; id.Request().String() != want {
			t.Errorf("%q: request topic %v, want %s", c.in, id.Request(), want)
		}
		if ReplyTo(id.Request()) != id.Reply() || !ReplyTo(id.Event()).IsZero() || !ReplyTo(Name{}).IsZero() {
			t.Errorf("%q: requests are answered on %v, want %v", c.in, ReplyTo(id.Request()), id.Reply())
		}
		for _, n := range []Name{id.Request(), id.Reply(), id.Event()} {
			if again, err := ParseName(n.String()); err != nil || again != n {
				t.Errorf("%q is not a topic name: %v", n, err)
			}
		}
	}
	for _, in := range []string{
		"", "anon-", "anon-" + hex[1:], "anon-" + hex + "0", "anon-" + strings.ToUpper(hex), "anon-" + hex + "/x", "x", "p:", ":n", "P:n",
		"p:n/", "p:n/a/b", "p:n/+", "p:+", "p:#", "p:n/" + strings.Repeat("s", maxSuffixLen+1), "p:n\x00", "inline",
	} {
		if id, err := ParseClientID(in); !errors.Is(err, ErrInvalid) || id != (ClientID{}) {
			t.Errorf("client id %q: accepted", in)
		}
	}
	longest := strings.Repeat("p", ident.MaxPoolLen) + ":" + strings.Repeat("n", ident.MaxNameLen) + "/" + strings.Repeat("s", maxSuffixLen)
	id, err := ParseClientID(longest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseName(id.Request().String()); err != nil {
		t.Error(err)
	}
}

// TestAnonymous: what a client makes for itself is what a broker admits, as nobody.
func TestAnonymous(t *testing.T) {
	made := Anonymous([16]byte{0: 0xab, 15: 1})
	if made.String() != "anon-ab000000000000000000000000000001" {
		t.Errorf("got %s", made)
	}
	read, err := ParseClientID(made.String())
	if err != nil || read != made || !read.Device().IsZero() {
		t.Errorf("it reads as %+v, %v", read, err)
	}
}

func TestDefaultGrant(t *testing.T) {
	d := identtest.Device(t, "p:n")
	g := Own(d)
	if !g.Retain || !g.AllowsPublish(Name{"devices/p/n/up"}) || g.AllowsPublish(Name{"devices/p/m/up"}) {
		t.Errorf("publish: %+v", g)
	}
	if !g.AllowsSubscribe(Filter{"devices/p/n/#"}) || g.AllowsSubscribe(Filter{"devices/p/#"}) || g.AllowsSubscribe(Filter{"#"}) {
		t.Errorf("subscribe: %+v", g)
	}
	if z := Own(ident.Device{}); z.AllowsPublish(Name{"devices//"}) || len(z.Subscribe) != 0 {
		t.Errorf("zero device: %+v", z)
	}
}

// The oracle: every name over a small alphabet up to a depth, matched by the
// words of the standard on split levels, and sets of them compared as sets.
// "z" and "$z" occur in no filter, so a literal can't pass for a wildcard.
var (
	nameLevels   = []string{"a", "b", "", "z", "$s", "$z"}
	filterLevels = []string{"a", "b", "", "$s", "+", "+"}
)

const oracleDepth = 5

func oracleNames() (names [][]string) {
	last := [][]string{nil}
	for range oracleDepth {
		var next [][]string
		for _, n := range last {
			for _, l := range nameLevels {
				next = append(next, append(append([]string{}, n...), l))
			}
		}
		names, last = append(names, next...), next
	}
	return names
}

func oracleMatch(f, n []string) bool {
	if strings.HasPrefix(n[0], "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, l := range f {
		if l == "#" {
			return len(n) >= i
		}
		if i >= len(n) || l != "+" && l != n[i] {
			return false
		}
	}
	return len(f) == len(n)
}

type nameSet []uint64

func (s nameSet) within(t nameSet) bool {
	for i := range s {
		if s[i]&^t[i] != 0 {
			return false
		}
	}
	return true
}

func randomFilter(r *rand.Rand) string {
	levels := make([]string, 1+r.IntN(oracleDepth-1))
	for i := range levels {
		levels[i] = filterLevels[r.IntN(len(filterLevels))]
	}
	if r.IntN(3) == 0 {
		levels[len(levels)-1] = "#"
	}
	if len(levels) == 1 && levels[0] == "" {
		return "a"
	}
	return strings.Join(levels, "/")
}

// oracleSets gives the set of names that a filter matches, each worked out once.
func oracleSets(names [][]string) func(string) nameSet {
	sets := map[string]nameSet{}
	return func(f string) nameSet {
		if s, ok := sets[f]; ok {
			return s
		}
		s, levels := make(nameSet, len(names)/64+1), strings.Split(f, "/")
		for i, n := range names {
			if oracleMatch(levels, n) {
				s[i/64] |= 1 << (i % 64)
			}
		}
		sets[f] = s
		return s
	}
}

func TestGrantAgainstOracle(t *testing.T) {
	pairs := 1_000_000
	if testing.Short() {
		pairs = 100_000
	}
	r := rand.New(rand.NewPCG(3, 9))
	names := oracleNames()
	setOf := oracleSets(names)
	allowed, published := 0, 0
	for range pairs {
		asked, want := randomFilter(r), false
		union := make(nameSet, len(names)/64+1)
		var g Permissions
		for range 1 + r.IntN(3) {
			s := randomFilter(r)
			g.Subscribe = append(g.Subscribe, mustFilter(t, s))
			set := setOf(s)
			want = want || setOf(asked).within(set)
			for i := range union {
				union[i] |= set[i]
			}
		}
		got := g.AllowsSubscribe(mustFilter(t, asked))
		if got != want || got && !setOf(asked).within(union) {
			t.Fatalf("grant %v, filter %q: %v, the oracle says %v", g.Subscribe, asked, got, want)
		}
		i := r.IntN(len(names))
		if len(names[i]) == 1 && names[i][0] == "" {
			continue // the empty string is no name
		}
		g.Publish = g.Subscribe
		n, err := ParseName(strings.Join(names[i], "/"))
		if err != nil {
			t.Fatal(err)
		}
		wantPublish := union[i/64]>>(i%64)&1 == 1
		if g.AllowsPublish(n) != wantPublish {
			t.Fatalf("grant %v, name %q: the oracle says %v", g.Publish, n, wantPublish)
		}
		if got {
			allowed++
		}
		if wantPublish {
			published++
		}
	}
	if allowed < pairs/100 || published < pairs/100 {
		t.Errorf("only %d of %d filters and %d names were allowed: the generator is too shy to prove anything", allowed, pairs, published)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a/b", "+/#", "$share/g/a", "$SHARE/g/a", "a\x00", "signet/v1/p:n/x/rq", "anon-00", "a#", strings.Repeat("/", 20)} {
		f.Add(s, "devices/p/n/#")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		n, nameErr := ParseName(a)
		fa, errA := ParseFilter(a)
		if nameErr == nil && (errA != nil || !fa.Matches(n) || n.Filter() != fa) {
			t.Fatalf("name %q is not its own filter", a)
		}
		if s, err := ParseSubscription(a); err == nil && s.Group == "" && s.Filter != fa {
			t.Fatalf("%q: two readings", a)
		}
		if errA == nil && !fa.Covers(fa) {
			t.Fatalf("%q doesn't cover itself", a)
		}
		if fb, err := ParseFilter(b); err == nil && nameErr == nil {
			if fb.Matches(n) != oracleMatch(strings.Split(b, "/"), strings.Split(a, "/")) {
				t.Fatalf("%q matches %q: not what the oracle says", b, a)
			}
		}
		if id, err := ParseClientID(a); err == nil {
			if n, err := ParseName(id.Request().String()); err != nil || n != id.Request() || !IsReserved(n.Filter()) {
				t.Fatalf("client id %q has no request topic", a)
			}
		}
	})
}

func mustFilter(t *testing.T, s string) Filter {
	t.Helper()
	f, err := ParseFilter(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What MQTT forbids and what Signet does can be told apart.
func TestErrLimit(t *testing.T) {
	long, deep := strings.Repeat("x", MaxLen+1), strings.Repeat("x/", MaxDepth)
	for _, c := range []struct {
		s      string
		beyond bool
	}{
		{long, true}, {deep, true}, {"$share", true}, {"$SHARE/g/a", true}, {"$share/" + strings.Repeat("g", MaxGroupLen+1) + "/a", true}, {"$share/g/" + deep, true}, {"$share/g/$share/h/a", true},
		{"", false}, {"a\x00", false}, {"\xff", false}, {"a/b#", false}, {"#/a", false}, {"a+", false}, {"$share/", false}, {"$share/g", false}, {"$share/g/", false}, {"$share//a", false}, {"$share/+/a", false}, {"$share/g#/a", false},
	} {
		_, err := ParseSubscription(c.s)
		if !errors.Is(err, ErrInvalid) || errors.Is(err, ErrLimit) != c.beyond {
			t.Errorf("%.40q: %v", c.s, err)
		}
	}
	for s, beyond := range map[string]bool{long: true, deep: true, "$share/a": true, "a/+": false, "a#": false, "": false} {
		if _, err := ParseName(s); !errors.Is(err, ErrInvalid) || errors.Is(err, ErrLimit) != beyond {
			t.Errorf("name %.40q: %v", s, err)
		}
	}
}
