package subscription

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/signetd/signet/protocol/topic"
	"github.com/signetd/signet/protocol/topic/topictest"
)

type client = Subscriber[string]

// got says who gets a message, in one line.
func got(x *Index[string], n topic.Name, from *client) string {
	var m Matches[string]
	x.Match(n, from, &m)
	return told(&m)
}

func told(m *Matches[string]) string {
	var all []string
	for _, r := range m.Receivers {
		s := fmt.Sprintf("%s:%d", r.Owner, r.QoS)
		if r.RetainAsPublished {
			s += " as published"
		}
		if len(r.Identifiers) > 0 {
			ids := slices.Clone(r.Identifiers)
			slices.Sort(ids)
			s += fmt.Sprint(" ", ids)
		}
		all = append(all, s)
	}
	for _, g := range m.Groups {
		all = append(all, fmt.Sprintf("%s of %s", g.Subscription().Group, g.Subscription().Filter))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// TestOverlap: who subscribes by several filters gets one copy, by the highest QoS that one
// of them grants [MQTT-3.3.4-2], with the identifiers of all [MQTT-3.3.4-3, MQTT-3.3.4-4];
// a topic that begins with '$' is not for wildcards at the beginning [MQTT-4.7.2-1].
func TestOverlap(t *testing.T) {
	x, a, b := New[string](), client{Owner: "a"}, client{Owner: "b"}
	x.Add(&a, topictest.Subscription(t, "x/#"), Options{QoS: 0, Identifier: 7})
	x.Add(&a, topictest.Subscription(t, "x/+"), Options{QoS: 2, Identifier: 9})
	x.Add(&a, topictest.Subscription(t, "x/y"), Options{QoS: 1, RetainAsPublished: true})
	x.Add(&a, topictest.Subscription(t, "+/y"), Options{QoS: 1, Identifier: 7})
	x.Add(&b, topictest.Subscription(t, "#"), Options{QoS: 1})
	for name, want := range map[string]string{
		"x/y":   "a:2 as published [7 7 9], b:1",
		"x/z":   "a:2 [7 9], b:1",
		"x":     "a:0 [7], b:1",
		"z/y":   "a:1 [7], b:1",
		"x/y/z": "a:0 [7], b:1",
		"$x/y":  "",
	} {
		if got := got(x, topictest.Name(t, name), nil); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestNoLocal: no message comes back to who published it by a filter with that option
// [MQTT-3.8.3-3]; by another filter without it it does, and then by that one's options alone.
func TestNoLocal(t *testing.T) {
	x, a, b := New[string](), client{Owner: "a"}, client{Owner: "b"}
	x.Add(&a, topictest.Subscription(t, "x/y"), Options{QoS: 2, NoLocal: true, RetainAsPublished: true, Identifier: 3})
	x.Add(&b, topictest.Subscription(t, "x/y"), Options{QoS: 1, NoLocal: true})
	n := topictest.Name(t, "x/y")
	for _, tt := range []struct {
		from *client
		want string
	}{{&a, "b:1"}, {&b, "a:2 as published [3]"}, {nil, "a:2 as published [3], b:1"}} {
		if got := got(x, n, tt.from); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
	x.Add(&a, topictest.Subscription(t, "x/+"), Options{QoS: 0})
	if got := got(x, n, &a); got != "a:0, b:1" {
		t.Errorf("by the other filter: %s", got)
	}
	x.Add(&a, topictest.Subscription(t, "x/y"), Options{QoS: 1, Identifier: 3})
	if got := got(x, n, &a); got != "a:1 [3], b:1" {
		t.Errorf("after it was replaced: %s", got)
	}
}

// TestReplaced: the same filter again replaces what was asked for [MQTT-3.8.4-3]; in a group
// and out of it, or by another spelling of what it matches, it is another subscription.
func TestReplaced(t *testing.T) {
	x, a := New[string](), client{Owner: "a"}
	for _, step := range []struct {
		sub     string
		qos     byte
		existed bool
		want    string
	}{
		{"x/+", 2, false, "a:2"},
		{"x/+", 1, true, "a:1"},
		{"$share/g/x/+", 1, false, "a:1, g of x/+"},
		{"$share/h/x/+", 1, false, "a:1, g of x/+, h of x/+"},
		{"$share/g/x/+", 0, true, "a:1, g of x/+, h of x/+"},
		{"$share/g/x/#", 0, false, "a:1, g of x/#, g of x/+, h of x/+"},
		{"+/#", 2, false, "a:2, g of x/#, g of x/+, h of x/+"},
		{"#", 0, false, "a:2, g of x/#, g of x/+, h of x/+"},
	} {
		if existed := x.Add(&a, topictest.Subscription(t, step.sub), Options{QoS: step.qos}); existed != step.existed {
			t.Errorf("%s: existed %t", step.sub, existed)
		}
		if got := got(x, topictest.Name(t, "x/y"), nil); got != step.want {
			t.Errorf("%s: %s, want %s", step.sub, got, step.want)
		}
	}
	if x.Count(&a) != 6 || len(x.Of(&a)) != 6 || x.Len() != 6 {
		t.Errorf("%d %v", x.Count(&a), x.Of(&a))
	}
	if x.Remove(&a, topictest.Subscription(t, "$share/i/x/+")) || x.Remove(&a, topictest.Subscription(t, "x/#")) || x.Remove(&client{}, topictest.Subscription(t, "x/+")) || !x.Remove(&a, topictest.Subscription(t, "x/+")) || x.Remove(&a, topictest.Subscription(t, "x/+")) {
		t.Error("what was not there went, or what was did not")
	}
	if x.Add(&a, topic.Subscription{}, Options{}) || x.Add(&a, topic.Subscription{Group: "g"}, Options{}) || x.Count(&a) != 5 {
		t.Error("a zero subscription was taken")
	}
	if got := got(x, topic.Name{}, nil); got != "" {
		t.Errorf("a zero name: %s", got)
	}
	x.RemoveAll(&a)
	empty(t, x)
}

// TestByteForByte: what looks alike is not the same: names are not normalized [MQTT-4.7.3-4],
// and only the very filter that was asked for is left [MQTT-3.10.4-1], after which it gets
// nothing [MQTT-3.10.4-2].
func TestByteForByte(t *testing.T) {
	alike := []string{"\u00e9", "e\u0301", "E\u0301", "\u00e9/", "/\u00e9", "\ufeff\u00e9", "\u00e9 "}
	x, cs := New[string](), make([]client, len(alike))
	for i := range cs {
		cs[i].Owner = alike[i]
		x.Add(&cs[i], topictest.Subscription(t, alike[i]), Options{})
	}
	for _, name := range alike {
		if got := got(x, topictest.Name(t, name), nil); got != name+":0" {
			t.Errorf("%q: %q", name, got)
		}
	}
	for i := range cs {
		for j, filter := range alike {
			if i != j && x.Remove(&cs[i], topictest.Subscription(t, filter)) {
				t.Errorf("%q left by %q", alike[i], filter)
			}
		}
		if !x.Remove(&cs[i], topictest.Subscription(t, alike[i])) || got(x, topictest.Name(t, alike[i]), nil) != "" {
			t.Errorf("%q is not left", alike[i])
		}
	}
	empty(t, x)
}

// empty checks that nothing is left in an Index, not even a branch.
func empty(t *testing.T, x *Index[string]) {
	t.Helper()
	if x.top.behind != 0 || x.top.deep != nil || x.top.exact != nil || x.top.shared != nil {
		t.Errorf("the top still has %+v", &x.top)
	}
	if len(x.nodes) != 0 || len(x.groups) != 0 || x.count != 0 || int(x.numbers) != len(x.free) {
		t.Errorf("left: %d nodes, %d groups, %d subscriptions, %d of %d numbers", len(x.nodes), len(x.groups), x.count, len(x.free), x.numbers)
	}
}

// oracle is the same as an Index, by lists.
type oracle map[*client]map[topic.Subscription]Options

func (o oracle) match(n topic.Name, from *client) string {
	var m Matches[string]
	groups := map[topic.Subscription]*Group[string]{}
	for c, subs := range o {
		r := Receiver[string]{Subscriber: c}
		matched := false
		for sub, opt := range subs {
			switch {
			case !sub.Filter.Matches(n):
			case sub.Group != "":
				groups[sub] = &Group[string]{sub: sub}
			case !opt.NoLocal || c != from:
				matched = true
				r.QoS, r.RetainAsPublished = max(r.QoS, opt.QoS), r.RetainAsPublished || opt.RetainAsPublished
				if opt.Identifier > 0 {
					r.Identifiers = append(r.Identifiers, opt.Identifier)
				}
			}
		}
		if matched {
			m.Receivers = append(m.Receivers, r)
		}
	}
	m.Groups = slices.Collect(maps.Values(groups))
	return told(&m)
}

func anySubscription(r *rand.Rand) string {
	s := topictest.AnyFilter(r)
	if r.IntN(4) == 0 {
		s = "$share/" + []string{"g", "h"}[r.IntN(2)] + "/" + s
	}
	return s
}

// TestAgainstOracle: whoever comes and goes, matches are those of a list of all
// subscriptions, and in the end nothing is left.
func TestAgainstOracle(t *testing.T) {
	runs := 1000
	if testing.Short() {
		runs = 100
	}
	matched := 0
	for seed := range runs {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		x, o := New[string](), oracle{}
		clients := make([]*client, 1+r.IntN(40))
		for i := range clients {
			clients[i] = &client{Owner: fmt.Sprint(i)}
			o[clients[i]] = map[topic.Subscription]Options{}
		}
		var m Matches[string]
		for range 300 {
			c := clients[r.IntN(len(clients))]
			sub := topictest.Subscription(t, anySubscription(r))
			_, had := o[c][sub]
			switch r.IntN(20) {
			default:
				opt := Options{QoS: byte(r.IntN(3)), NoLocal: r.IntN(2) == 0, RetainAsPublished: r.IntN(2) == 0, Identifier: uint32(r.IntN(4))}
				if x.Add(c, sub, opt) != had {
					t.Fatalf("seed %d: %v was there: %t", seed, sub, had)
				}
				o[c][sub] = opt
			case 1, 2, 3, 4:
				if len(o[c]) > 0 && r.IntN(3) > 0 {
					sub = x.Of(c)[r.IntN(len(o[c]))].Subscription
					had = true
				}
				if x.Remove(c, sub) != had {
					t.Fatalf("seed %d: %v was there: %t", seed, sub, had)
				}
				delete(o[c], sub)
			case 0:
				x.RemoveAll(c)
				clear(o[c])
			}
			n := topictest.Name(t, topictest.AnyName(r))
			from := clients[r.IntN(len(clients))]
			x.Match(n, from, &m)
			if got, want := told(&m), o.match(n, from); got != want {
				t.Fatalf("seed %d, %s: %s\nwant %s", seed, n, got, want)
			}
			matched += len(m.Receivers) + len(m.Groups)
			if of := x.Of(c); len(of) != len(o[c]) || x.Count(c) != len(of) {
				t.Fatalf("seed %d: %v, want %v", seed, of, o[c])
			} else {
				for _, s := range of {
					if o[c][s.Subscription] != s.Options {
						t.Fatalf("seed %d: %v, want %v", seed, of, o[c])
					}
				}
			}
		}
		for _, c := range clients {
			x.RemoveAll(c)
		}
		empty(t, x)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if matched < 1000*runs/2 {
		t.Errorf("only %d matched: that proves little", matched)
	}
}

func members(x *Index[string], g *Group[string], takes string) (order string) {
	for c := range x.Members(g) {
		order += c.Owner
		if strings.Contains(takes, c.Owner) {
			break
		}
	}
	return order
}

// TestBalance: members of a group are offered messages in turn; who follows the one that took
// it comes first, so that who takes none leaves his share to all others and not to his
// neighbour. To each go its own options [MQTT-4.8.2-3].
func TestBalance(t *testing.T) {
	x := New[string]()
	cs := []client{{Owner: "a"}, {Owner: "b"}, {Owner: "c"}}
	sub := topictest.Subscription(t, "$share/g/x/#")
	for i := range cs {
		x.Add(&cs[i], sub, Options{QoS: byte(i)})
	}
	g := x.Group(sub)
	for i, tt := range []struct{ takes, want string }{
		{"abc", "a"}, {"abc", "b"}, {"abc", "c"}, {"abc", "a"}, // in turn
		{"a", "bca"}, {"ac", "bc"}, {"ac", "a"}, {"ac", "bc"}, {"ac", "a"}, // b takes none
		{"", "bca"}, {"", "bca"}, {"abc", "b"}, // nobody does, and then b's turn is still to come
	} {
		if got := members(x, g, tt.takes); got != tt.want {
			t.Errorf("%d: %s, want %s", i, got, tt.want)
		}
	}
	for c, o := range x.Members(g) {
		if &cs[o.QoS] != c {
			t.Errorf("%s has the options %+v", c.Owner, o)
		}
	}
	if x.Group(topictest.Subscription(t, "$share/g/x/+")) != nil || x.Group(topictest.Subscription(t, "x/#")) != nil || members(x, nil, "") != "" {
		t.Error("a group of nobody")
	}
}

// TestHandOver: what a member that leaves had is offered to the others, and to nobody when
// it was the last; a group that was left by all is another when it comes again.
func TestHandOver(t *testing.T) {
	x := New[string]()
	cs := []client{{Owner: "a"}, {Owner: "b"}, {Owner: "c"}}
	sub := topictest.Subscription(t, "$share/g/x")
	for i := range cs {
		x.Add(&cs[i], sub, Options{})
	}
	g := x.Group(sub)
	x.RemoveAll(&cs[0])
	if got := members(x, g, ""); len(got) != 2 || strings.Contains(got, "a") {
		t.Errorf("after a left: %s", got)
	}
	order := ""
	for c := range x.Members(g) { // it leaves while it is asked
		order += c.Owner
		x.RemoveAll(c)
	}
	if len(order) == 0 {
		t.Error("nobody was asked")
	}
	for i := range cs {
		x.Add(&cs[i], sub, Options{})
	}
	g = x.Group(sub)
	asked := map[string]bool{}
	for c := range x.Members(g) { // the first leaves while it is asked: who comes in its place is asked, too
		if len(asked) == 0 {
			x.RemoveAll(c)
		}
		asked[c.Owner] = true
	}
	if len(asked) != len(cs) {
		t.Errorf("asked of a group whose first member left: %v", asked)
	}
	for i := range cs {
		x.RemoveAll(&cs[i])
	}
	if got := members(x, g, ""); got != "" || x.Group(sub) != nil {
		t.Errorf("after all left: %s", got)
	}
	empty(t, x)
	x.Add(&cs[1], sub, Options{})
	if got := members(x, x.Group(sub), ""); got != "b" {
		t.Errorf("a new group: %s", got)
	}
}

// TestAtOnce: many come, go and look up at the same time.
func TestAtOnce(t *testing.T) {
	x := New[string]()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			cs := make([]client, 5)
			for range 2000 {
				c := &cs[r.IntN(len(cs))]
				if r.IntN(3) == 0 {
					x.RemoveAll(c)
				} else {
					x.Add(c, topictest.Subscription(t, anySubscription(r)), Options{Identifier: 1})
				}
			}
			for i := range cs {
				x.RemoveAll(&cs[i])
			}
		})
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 3))
			var m Matches[string]
			for range 2000 {
				x.Match(topictest.Name(t, topictest.AnyName(r)), nil, &m)
				for _, g := range m.Groups {
					for range x.Members(g) {
						if r.IntN(2) == 0 {
							break
						}
					}
				}
			}
		})
	}
	wg.Wait()
	empty(t, x)
}

// FuzzIndex: lines say who subscribes to what and leaves it; after each, what they match is
// what the oracle says.
func FuzzIndex(f *testing.F) {
	f.Add("0+a/#\n1+a/+/b\n0+$share/g/a/+\n0-a/#\n1+#\n1-#", "a/x/b")
	f.Add("0++/+\n1+/+\n0+/#\n0++/#\n1+$s/#\n0-+/+", "/")
	f.Fuzz(func(t *testing.T, lines, name string) {
		n, err := topic.ParseName(name)
		if err != nil {
			return
		}
		x, cs := New[string](), []client{{Owner: "a"}, {Owner: "b"}}
		o := oracle{&cs[0]: {}, &cs[1]: {}}
		for _, line := range strings.Split(lines, "\n") {
			if len(line) < 3 {
				continue
			}
			sub, err := topic.ParseSubscription(line[2:])
			if err != nil {
				continue
			}
			c := &cs[line[0]&1]
			opt := Options{QoS: line[0] >> 1 & 1, NoLocal: line[0]&4 > 0, Identifier: uint32(line[0] >> 6)}
			_, had := o[c][sub]
			if line[1] == '-' {
				delete(o[c], sub)
				if x.Remove(c, sub) != had {
					t.Fatalf("%q: it was there: %t", line, had)
				}
			} else {
				o[c][sub] = opt
				if x.Add(c, sub, opt) != had {
					t.Fatalf("%q: it was there: %t", line, had)
				}
			}
			if got, want := got(x, n, &cs[0]), o.match(n, &cs[0]); got != want {
				t.Fatalf("%q after %q: %s, want %s", n, line, got, want)
			}
		}
		x.RemoveAll(&cs[0])
		x.RemoveAll(&cs[1])
		empty(t, x)
	})
}
