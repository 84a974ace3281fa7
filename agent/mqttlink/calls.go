package mqttlink

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/signetd/signet/protocol"
)

// heldReplies is how many replies to one call are held that nobody has taken yet.
const heldReplies = 4

// Calls are the requests on one connection that wait for their replies. Its fields are set before
// its methods are called, which are safe for concurrent use.
type Calls struct {
	Send   func(ctx context.Context, request []byte) error // publishes a request
	Resend time.Duration                                   // a request without a reply is sent again after this
	Done   <-chan struct{}                                 // closed at the connection's end
	Err    func() error                                    // says why it ended

	mu      sync.Mutex // protects the fields below
	waiting map[protocol.CallID]chan []byte
	idle    protocol.CallID // in waiting though nobody listens now: more may come
}

// RoundTrip sends request, again every Resend until the reply with its call id comes. Errors are
// Send's and Err's, and wrap the context's.
func (c *Calls) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	return c.ask(ctx, request, true)
}

// Listen is RoundTrip for a request that was sent: it does so again after Resend.
func (c *Calls) Listen(ctx context.Context, request []byte) ([]byte, error) {
	return c.ask(ctx, request, false)
}

// Arrive hands what came, message or not, to whoever waits for its call.
func (c *Calls) Arrive(reply []byte) {
	id, err := protocol.CallOf(reply)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.waiting[id]; ch != nil {
		select {
		case ch <- reply:
		default: // so many are enough
		}
	}
}

func (c *Calls) ask(ctx context.Context, request []byte, now bool) ([]byte, error) {
	id, err := protocol.CallOf(request)
	if err != nil {
		return nil, fmt.Errorf("send request: it is no message: %w", err)
	}
	replies := c.listen(id)
	defer c.stopListening(id)
	again := time.NewTicker(c.Resend)
	defer again.Stop()
	for ; ; now = true {
		if now {
			if err := c.Send(ctx, request); err != nil {
				return nil, err
			}
		}
		select {
		case b := <-replies:
			return b, nil
		case <-again.C:
		case <-c.Done:
		case <-ctx.Done():
		}
		if b, over, err := c.outcome(ctx, replies); over {
			return b, err
		}
	}
}

// outcome is what has come, if anything has: of several at once a reply, or what says most.
func (c *Calls) outcome(ctx context.Context, replies <-chan []byte) (reply []byte, over bool, err error) {
	select {
	case b := <-replies:
		return b, true, nil
	default:
	}
	select {
	case <-c.Done:
		return nil, true, c.Err()
	default:
	}
	if ctx.Err() != nil {
		return nil, true, fmt.Errorf("wait for the broker's reply: %w", ctx.Err())
	}
	return nil, false, nil
}

// listen gives the replies to a call, with those that came since its last reply
// was taken: a doubled one and the one that is waited for come close together.
func (c *Calls) listen(id protocol.CallID) <-chan []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle == id {
		c.idle = protocol.CallID{}
	}
	ch := c.waiting[id]
	if ch == nil {
		if c.waiting == nil {
			c.waiting = map[protocol.CallID]chan []byte{}
		}
		ch = make(chan []byte, heldReplies)
		c.waiting[id] = ch
	}
	return ch
}

// stopListening ends the listening to a call. Replies to it are still held, for it may be
// listened to again, until the listening to another call ends.
func (c *Calls) stopListening(id protocol.CallID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != id {
		delete(c.waiting, c.idle)
	}
	c.idle = id
}
