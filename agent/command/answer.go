package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/textfile"
)

// Patience with whoever answers challenges over the local socket.
const (
	patience   = 150 * time.Second // the broker takes no answer after three minutes
	answerWait = 40 * time.Second  // for a challenge that is about to come
)

// Errors of the desk.
var (
	errNoChallenge = exit.With(exit.NotFound, errors.New("no challenge waits for an answer"))
	errOtherAsked  = exit.With(exit.NotFound, errors.New("that challenge is over"))
)

// A desk is where challenges wait for somebody to answer them over the local socket.
type desk struct {
	mu      sync.Mutex // guards what is below
	count   uint64
	waiting *waiting      // nil: none
	arrival chan struct{} // closed when one comes
}

// A waiting is a challenge that waits.
type waiting struct {
	ID     string            `json:"id"` // in the words of answer's "challenge"
	Kind   string            `json:"kind"`
	Params map[string]string `json:"params,omitempty"`

	answer chan []byte
}

func newDesk() *desk { return &desk{arrival: make(chan struct{})} }

// solve is an agent.Solver: it waits until somebody answers or ctx ends. The agent
// answers one challenge at a time.
func (d *desk) solve(ctx context.Context, kind string, params map[string]string) ([]byte, error) {
	d.mu.Lock()
	d.count++
	w := &waiting{ID: strconv.FormatUint(d.count, 10), Kind: kind, Params: params, answer: make(chan []byte, 1)}
	d.waiting = w
	close(d.arrival)
	d.arrival = make(chan struct{})
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.waiting == w {
			d.waiting = nil
		}
	}()
	select {
	case answer := <-w.answer:
		return answer, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nobody answered: signet-agent answer: %w", ctx.Err())
	}
}

// pending gives the challenge that waits, nil if none does.
func (d *desk) pending() *waiting {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting
}

// answer hands an answer to the challenge with that id or, without one, to whichever
// waits or comes within the time that ctx gives.
func (d *desk) answer(ctx context.Context, id string, answer []byte) error {
	for {
		d.mu.Lock()
		w, arrival := d.waiting, d.arrival
		if w != nil && (id == "" || id == w.ID) {
			d.waiting = nil // one answer each
			d.mu.Unlock()
			w.answer <- answer
			return nil
		}
		d.mu.Unlock()
		if id != "" {
			return errOtherAsked
		}
		select {
		case <-arrival:
		case <-ctx.Done():
			return errNoChallenge
		}
	}
}

// serve answers programs' requests for challenges and answers to them.
func (d *desk) serve(ctx context.Context, r localapi.Request) localapi.Reply {
	if r.Op == "answer" {
		ctx, cancel := context.WithTimeout(ctx, answerWait)
		defer cancel()
		if err := d.answer(ctx, r.Challenge, []byte(r.Answer)); err != nil {
			return failed(ctx, err)
		}
		return localapi.Reply{}
	}
	w := d.pending()
	if w == nil {
		return failed(ctx, errNoChallenge)
	}
	raw, err := json.Marshal(w)
	if err != nil {
		return failed(ctx, err)
	}
	return localapi.Reply{Challenge: raw}
}

// answer is the command: without a word it shows what is asked, with one it answers.
func (p *program) answer(ctx context.Context, args []string) error {
	var w where
	f := p.flags("answer")
	w.flags(f)
	w.socketFlag(f)
	words, err := p.words(f, args)
	if err != nil {
		return err
	}
	if len(words) > 1 {
		return exit.Usagef("one answer, in quotes if it has spaces")
	}
	_, socket, err := p.find(w)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		reply, err := localapi.Call(ctx, socket, localapi.Request{Op: "challenge"})
		if err != nil {
			return err
		}
		fmt.Fprintf(p.out, "%s\n", reply.Challenge)
		return nil
	}
	text := words[0]
	if text == "-" {
		raw, err := io.ReadAll(io.LimitReader(p.in, maxAnswer+1))
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if raw, err = textfile.Plain(raw); err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		text = withoutLineEnd(string(raw))
		if strings.ContainsAny(text, "\r\n") { // which of them is meant? a wrong one may cost a try
			return exit.Usagef("standard input has several lines, and an answer is one")
		}
	}
	if text == "" {
		return exit.Usagef("the answer is empty")
	}
	if len(text) > localapi.MaxAnswer {
		return exit.Usagef("the answer has %d bytes, at most %d", len(text), localapi.MaxAnswer)
	}
	if _, err := localapi.Call(ctx, socket, localapi.Request{Op: "answer", Answer: text}); err != nil {
		return err
	}
	fmt.Fprintln(p.out, "handed over; signet-agent status tells what came of it")
	return nil
}
