package broker

import "testing"

// What is listed as no document is none.
func TestRecordKinds(t *testing.T) {
	for _, k := range RecordKinds() {
		if k.IsDocument() {
			t.Errorf("%s", k)
		}
	}
	if !RecordKind(ClientKind().Name).IsDocument() {
		t.Error("a client is a document")
	}
}

func TestActorAmong(t *testing.T) {
	for _, c := range []struct {
		a, which Actor
		want     bool
	}{
		{"operator:ada", "operator:ada", true}, {"operator:ada", "operator", true}, {"operator:ada", "operator:ad", false}, {"operator:ada", "oper", false},
		{"device:demo:lamp-1", "device:demo", true}, {"device:demo2:lamp-1", "device:demo", false}, {ActorLocal, ActorLocal, true}, {ActorLocal, "operator", false},
	} {
		if got := c.a.Among(c.which); got != c.want {
			t.Errorf("%s among %s: %v", c.a, c.which, got)
		}
	}
}
