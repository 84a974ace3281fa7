// Package localapi lets programs on the device ask the running agent for tokens,
// over a Unix socket: one JSON request on a line, one JSON reply on a line. Who
// may ask is decided by the kernel's word on the peer (SO_PEERCRED): the agent's
// own user, root, and members of the groups it was told of. Anyone else gets an
// error and no look at the request's outcome.
//
// It knows nothing of what it serves, and does without net/http. It runs on Linux.
package localapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/peer"
	"github.com/signetd/signet/protocol/strictjson"
)

// Limits on one exchange.
const (
	maxRequest = 16 << 10         // bytes
	maxReply   = 64 << 10         // bytes
	maxPeers   = 32               // at the same time
	maxPath    = 107              // bytes of a socket's path: sockaddr_un on Linux
	patience   = 40 * time.Second // of the agent with a request
	deadline   = 45 * time.Second // for the whole exchange
)

// Errors of this package, wrapped.
var (
	ErrNotRunning = errors.New("no agent is running here")
	ErrForbidden  = errors.New("this user may not ask the agent")
	ErrRequest    = errors.New("read request")
	ErrAgent      = errors.New("the agent says")
	ErrPath       = errors.New("path is too long for a socket")
	ErrListens    = errors.New("another agent listens there already")
)

// MaxAnswer is the longest answer to a challenge, in bytes: escaped, it still fits.
const MaxAnswer = 2 << 10

// A Request asks for a token, credentials, the agent's status or the challenge that waits for an
// answer, or gives an answer.
type Request struct {
	Op       string `json:"op"`               // "token", "credentials", "status", "challenge" or "answer"
	Type     string `json:"type,omitempty"`   // of a token "access" or "id"; of credentials "mqtt"
	Format   string `json:"format,omitempty"` // "jwt" or "cwt"
	Audience string `json:"audience,omitempty"`
	// Challenge is the id of the one that Answer is for; empty: whichever waits.
	Challenge string `json:"challenge,omitempty"`
	Answer    string `json:"answer,omitempty"`
}

// A Reply has a token or a status, or says why not.
type Reply struct {
	Token  string          `json:"token,omitempty"` // a JWT, or a CWT in base64url
	Life   int64           `json:"life,omitempty"`  // seconds the token is still good
	Status json.RawMessage `json:"status,omitempty"`
	// Credentials of type mqtt have host, port, client_id, user_name, password and life,
	// the seconds in which to connect.
	Credentials json.RawMessage `json:"credentials,omitempty"`
	// Challenge has its id, kind and params.
	Challenge json.RawMessage `json:"challenge,omitempty"`
	Error     string          `json:"error,omitempty"`
	// Forbidden says that the error is about who asks.
	Forbidden bool `json:"forbidden,omitempty"`
	// Refusal is the broker's code (docs/protocol.md, section 11) if the error is its refusal.
	Refusal protocol.Code `json:"refusal,omitempty"`
	// Exit is what signet-agent exits with for the error (package exit), if there is more to
	// say of it than that it failed.
	Exit exit.Code `json:"exit,omitempty"`
}

// A Handler answers one request of a peer that may ask.
type Handler func(ctx context.Context, r Request) Reply

// Listen makes the socket at path, with mode 0600, or 0666 if groups may use it:
// then Serve alone decides who may ask, because a file has one group and there may
// be several. A socket that nobody listens on is replaced. The path has at most 107 bytes.
func Listen(ctx context.Context, path string, shared bool) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("listen on %s: %w: %d bytes, at most %d", path, ErrPath, len(path), maxPath)
	}
	if Answers(ctx, path) {
		return nil, fmt.Errorf("%s: %w", path, ErrListens)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // the rest of it says path and listen again
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	mode := fs.FileMode(0o600)
	if shared {
		mode = 0o666
	}
	if err := os.Chmod(path, mode); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return ln, nil
}

// Serve answers until ctx ends, and closes ln. groups are the primary group ids
// that may ask beside root and the agent's own user.
func Serve(ctx context.Context, ln net.Listener, groups []uint32, h Handler) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var peers sync.WaitGroup
	defer peers.Wait()
	slots := make(chan struct{}, maxPeers)
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve programs: %w", err)
		}
		slots <- struct{}{}
		peers.Go(func() {
			defer func() { <-slots }()
			defer conn.Close() //nolint:errcheck // one exchange, then over
			answer(ctx, conn, groups, h)
		})
	}
}

func answer(ctx context.Context, conn net.Conn, groups []uint32, h Handler) {
	_ = conn.SetDeadline(time.Now().Add(deadline)) // elapsed time only
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var reply Reply
	if err := peer.Permit(conn, groups); err != nil {
		reply = Reply{Error: err.Error(), Forbidden: true}
	} else if r, err := readRequest(conn); err != nil {
		reply.Error = err.Error()
	} else {
		ctx, cancel := context.WithTimeout(ctx, patience) // the reply is to come through yet
		defer cancel()
		reply = h(ctx, r)
	}
	if line, err := json.Marshal(reply); err == nil {
		_, _ = conn.Write(append(line, '\n')) // the peer has gone, its loss
	}
}

// readRequest reads one line. Errors wrap ErrRequest.
func readRequest(r io.Reader) (Request, error) {
	line, err := bufio.NewReaderSize(io.LimitReader(r, maxRequest), maxRequest).ReadSlice('\n')
	if err != nil {
		return Request{}, fmt.Errorf("%w: want one line of JSON, at most %d bytes", ErrRequest, maxRequest)
	}
	return parseRequest(line)
}

// parseRequest refuses members that it does not know and anything behind the
// object: a misspelt audience must not become a token for the default one.
func parseRequest(line []byte) (Request, error) {
	var r Request
	unknown, err := strictjson.Read(line, maxRequest, strictjson.Fields{"op": &r.Op, "type": &r.Type, "format": &r.Format, "audience": &r.Audience, "challenge": &r.Challenge, "answer": &r.Answer})
	if err != nil {
		return Request{}, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if len(unknown) > 0 {
		return Request{}, fmt.Errorf("%w: unknown member %q", ErrRequest, unknown[0])
	}
	return r, nil
}

// parseReply passes over what a newer agent may say besides.
func parseReply(raw []byte) (r Reply, err error) {
	var refusal, code int64
	_, err = strictjson.Read(raw, maxReply, strictjson.Fields{
		"token": &r.Token, "life": &r.Life, "status": (*strictjson.Value)(&r.Status), "credentials": (*strictjson.Value)(&r.Credentials), "challenge": (*strictjson.Value)(&r.Challenge), "error": &r.Error, "forbidden": &r.Forbidden, "refusal": &refusal, "exit": &code,
	})
	if refusal > 0 && refusal <= math.MaxUint8 {
		r.Refusal = protocol.Code(refusal)
	}
	if code > 0 && code <= math.MaxUint8 {
		r.Exit = exit.Code(code)
	}
	return r, err
}

// Answers tells whether somebody listens at path.
func Answers(ctx context.Context, path string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// Call asks the agent that listens at path, until ctx ends. Errors wrap ErrNotRunning,
// ErrForbidden or, with a Reply's own Error, ErrAgent.
func Call(ctx context.Context, path string, r Request) (Reply, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if errors.Is(err, fs.ErrPermission) {
		return Reply{}, fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	if err != nil {
		return Reply{}, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	defer conn.Close() //nolint:errcheck // one exchange, then over
	_ = conn.SetDeadline(time.Now().Add(deadline))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := json.Marshal(r)
	if err != nil {
		return Reply{}, err
	}
	_, writeErr := conn.Write(append(line, '\n')) // one that is refused at once is told why
	raw, err := io.ReadAll(io.LimitReader(conn, maxReply))
	if ctx.Err() != nil {
		return Reply{}, fmt.Errorf("ask the agent: %w", ctx.Err())
	}
	if err := errors.Join(err, writeErr); err != nil && len(raw) == 0 {
		return Reply{}, fmt.Errorf("ask the agent: %w", err)
	}
	if len(raw) == 0 {
		return Reply{}, errors.New("ask the agent: it ended without a reply")
	}
	reply, err := parseReply(raw)
	if err != nil {
		return Reply{}, fmt.Errorf("ask the agent: its reply makes no sense: %w", err)
	}
	if reply.Forbidden {
		return reply, fmt.Errorf("%w (%w: %s)", ErrForbidden, ErrAgent, reply.Error)
	}
	return reply, reply.err()
}

// err is the error that a reply tells; it wraps ErrAgent and, if the broker refused, its code.
func (r *Reply) err() error {
	if r.Error == "" {
		return nil
	}
	err := fmt.Errorf("%w: %w", ErrAgent, &saidBefore{r.Error, r.Refusal})
	if r.Exit != exit.Done {
		err = exit.With(r.Exit, err)
	}
	return err
}

// saidBefore is an error in the words in which it came.
type saidBefore struct {
	text    string
	refusal protocol.Code
}

func (e *saidBefore) Error() string { return e.text }

// Is finds the broker's code.
func (e *saidBefore) Is(target error) bool {
	c, ok := target.(protocol.Code)
	return ok && e.refusal != protocol.CodeInternal && c == e.refusal
}
