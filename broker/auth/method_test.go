package auth

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// named is a Method that only has a name.
type named struct {
	name      string
	guessable bool
}

func (n named) Name() string                             { return n.name }
func (n named) Guessable() bool                          { return n.guessable }
func (named) Ask(context.Context, *Turn) (Params, error) { return Params{}, nil }
func (named) Check(context.Context, *Turn, *protocol.Answer) (Result, error) {
	return Result{}, nil
}

// owning is a Possession that only has a name.
type owning struct{ named }

func (owning) Prover(*broker.Device, ident.Device, []byte, []byte) (*broker.Authenticator, error) {
	return nil, ErrProof
}

func (owning) Confirmation(ident.Device, *broker.Authenticator) (token.Confirmation, error) {
	return token.Confirmation{}, nil
}

// TestMethodsAreWhatTheProtocolSays: no method counts no tries where answers can be
// guessed, or takes for a proof what is none.
func TestMethodsAreWhatTheProtocolSays(t *testing.T) {
	key := owning{named{challenge.Key, false}}
	for _, k := range challenge.Kinds() {
		for _, guessable := range []bool{false, true} {
			for _, possession := range []bool{false, true} {
				var m Method = named{k.Name, guessable}
				if possession {
					m = owning{named{k.Name, guessable}}
				}
				all := []Method{m}
				if k.Name != challenge.Key {
					all = append(all, key)
				}
				_, err := newMethods(all, nil)
				if want := k.Step && guessable == k.Guessable && possession == k.Possession; (err == nil) != want {
					t.Errorf("%s, guessable %v, possession %v: %v", k.Name, guessable, possession, err)
				}
			}
		}
	}
	if _, err := newMethods([]Method{key, named{"door", true}}, nil); err == nil || !strings.Contains(err.Error(), "door") {
		t.Errorf("a method of a custom challenge's name: %v", err)
	}
	if _, err := newMethods([]Method{key, key}, nil); err == nil {
		t.Error("two methods of one name were taken")
	}
}

// TestResultsSayWhoJudgedAndWhatWasFound: an exchange keeps the hook and the claims of
// each result, as much as a sealed session has room for; hooks are told neither.
func TestResultsSayWhoJudgedAndWhatWasFound(t *testing.T) {
	turn := &Turn{pending: &pending{Kind: "pin", Hook: "doors", Meta: "m"}}
	found := Result{Name: "pin", OK: true, Claims: map[string]string{"firmware": "1.2"}}
	if err := turn.add(found, nil); err != nil {
		t.Fatal(err)
	}
	found.Hook, found.Meta = "doors", "m"
	p := Proven{results: turn.Results()}
	if diff := cmp.Diff([]Result{found}, p.Results()); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	told, err := json.Marshal(p.Results())
	if want := `[{"challengeName":"pin","challengeResult":true,"challengeMetadata":"m"}]`; err != nil || string(told) != want {
		t.Errorf("a hook is told %s, want %s", told, want)
	}
	found.Claims = map[string]string{"log": strings.Repeat("x", MaxDetail)}
	if err := turn.add(found, nil); !errors.Is(err, protocol.CodeInternal) || len(turn.Results()) != 1 {
		t.Errorf("claims beyond what a session holds: %v, %d results", err, len(turn.Results()))
	}
}
