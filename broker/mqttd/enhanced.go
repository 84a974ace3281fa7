package mqttd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/ident"
)

// maxAuthSteps is how many packets of the client one enhanced authentication may take, CONNECT
// included: more than any flow has, and few enough to guess in.
const maxAuthSteps = 16

// A Method is one of enhanced authentication (section 4.12): it begins an Exchange with a client
// that named it in CONNECT. With c.Device set that client is on a connection that is the device's
// already, and authenticates again. It must be quick.
type Method func(c Connect) Exchange

// An Exchange is one enhanced authentication. The Server has its steps done as it does requests:
// by the same workers, within the same limits, one at a time for one connection.
type Exchange interface {
	// Next answers what the client says; data is empty if it says nothing, and may be kept. It must
	// return when ctx ends. An error refuses the client, which hears "not authorized", or "server
	// busy" if the error wraps ErrBusy; with it goes Answer.Data, if the answer is a CONNACK.
	Next(ctx context.Context, data []byte) (Answer, error)
}

// An Answer is one step of an Exchange.
type Answer struct {
	Data []byte // for the client
	// Done: the client has authenticated, and its connection has this Standing, which is a device's.
	// Otherwise the exchange goes on with what it says next.
	Done     bool
	Standing Standing
}

// A step is one that waits for a worker, or has one. done is told once what it came to.
type step struct {
	of   Exchange
	done func(Answer, error)
}

// errStepBusy is what a step comes to that nobody took.
var errStepBusy = fmt.Errorf("%w: too many wait to be authenticated", ErrBusy)

// step does the step that r is.
func (s *Server) step(r request) {
	a, err := Answer{}, errPanic
	defer func() { r.step.done(a, err) }()
	a, err = r.step.of.Next(s.ctx, r.payload)
	if err == nil && a.Done && a.Standing.Device.IsZero() {
		err = errors.New("mqttd: an authentication that came to no device")
	}
}

// connectOf is what a Gate or a Method is told of who connects.
func (c *conn) connectOf(p *packet.Connect) Connect {
	return Connect{
		ClientID: p.ClientID, UserName: p.UserName, Password: p.Password, Will: willTopic(p), Remote: c.nc.RemoteAddr(), Channel: c.channel, Vouched: c.vouched(), TLS: c.tls(),
	}
}

// authenticate does a CONNECT's enhanced authentication, in the connection's own goroutine, up to
// where its CONNACK is due. since is when the decision began that the standing comes from;
// the registry is told of its end only by whoever gets no error.
func (s *Server) authenticate(ctx context.Context, c *conn, p *packet.Connect) (a Answer, since uint64, err error) {
	method := s.cfg.Methods[p.AuthMethod]
	if method == nil {
		return a, 0, refuse(packet.BadAuthenticationMethod, "authentication method %.64q", p.AuthMethod)
	}
	x := method(c.connectOf(p))
	data, rest := p.AuthData, c.in
	c.in = nil
	for range maxAuthSteps {
		since := s.clients.begin() // of the last step: what it read counts
		a, err = s.stepNow(ctx, c, x, data)
		if err == nil && a.Done && len(rest) > 0 {
			a.Data, err = nil, &packet.Error{Code: packet.ProtocolError, What: "a packet before the CONNACK"} // section 3.1.2.11.9
		}
		if err == nil && a.Done {
			return a, since, nil
		}
		s.clients.finish()
		if err != nil {
			return a, 0, failedAuth(p, a.Data, err)
		}
		asked := p.Receiver().AppendAuth(nil, packet.Auth{Code: packet.ContinueAuthentication, Method: p.AuthMethod, Data: a.Data})
		if len(asked) == 0 {
			return a, 0, refuse(packet.PacketTooLarge, "it takes packets of %d bytes, too few for an AUTH", p.MaximumPacketSize)
		}
		if err := c.stream.Write(asked); err != nil {
			return a, 0, fmt.Errorf("asking for an AUTH: %w", err)
		}
		var said *packet.Auth
		if said, rest, err = c.readAuth(rest); err != nil {
			return a, 0, failedAuth(p, nil, err)
		}
		if err := sameMethod(p.AuthMethod, said); err != nil {
			return a, 0, failedAuth(p, nil, err)
		}
		if said.Code != packet.ContinueAuthentication {
			return a, 0, failedAuth(p, nil, errAgainTooEarly)
		}
		data = said.Data
	}
	return a, 0, failedAuth(p, nil, errManySteps)
}

var (
	errAgainTooEarly = &packet.Error{Code: packet.ProtocolError, What: "AUTH that begins an authentication while one is under way"}
	errManySteps     = &packet.Error{Code: packet.ProtocolError, What: fmt.Sprintf("more than %d steps of an authentication", maxAuthSteps)}
	errLeft          = errors.New("it disconnected while it was being authenticated")
)

// sameMethod holds an AUTH to the method that the CONNECT named (sections 4.12 and 4.12.1).
func sameMethod(method string, a *packet.Auth) error {
	if a.Method != method {
		return &packet.Error{Code: packet.BadAuthenticationMethod, What: fmt.Sprintf("AUTH of the method %.64q on a connection of %.64q", a.Method, method)}
	}
	return nil
}

// failedAuth is an error of admission, with what the client hears of it.
func failedAuth(p *packet.Connect, data []byte, err error) error {
	code := packet.NotAuthorized
	if v, ok := errors.AsType[*packet.Error](err); ok {
		code = v.Code
	} else if errors.Is(err, ErrBusy) {
		code = packet.ServerBusy
	} else if r, ok := errors.AsType[*refusal](err); ok {
		code = r.code
	}
	return &refusal{code: code, err: fmt.Errorf("authenticating by %.64q: %w", p.AuthMethod, err), data: data}
}

// stepNow has a step done, and waits for what it comes to.
func (s *Server) stepNow(ctx context.Context, c *conn, x Exchange, data []byte) (Answer, error) {
	type came struct {
		Answer
		err error
	}
	done := make(chan came, 1)
	s.take(request{conn: c, payload: data, step: &step{x, func(a Answer, err error) { done <- came{a, err} }}})
	select {
	case a := <-done:
		return a.Answer, a.err
	case <-ctx.Done():
		return Answer{}, refuse(packet.ServerUnavailable, "authenticating: %w", ctx.Err())
	}
}

// readAuth reads the next packet of a client that is being authenticated, which sends AUTH and
// nothing else (section 3.1.2.11.9) or goes. Like a CONNECT it is read into memory that grows as it comes, and a
// long one is one of few.
func (c *conn) readAuth(buf []byte) (a *packet.Auth, rest []byte, err error) {
	held := false
	defer func() {
		if held {
			c.srv.reading.give(c.source())
		}
	}()
	for {
		h, n, err := packet.ReadHeader(buf)
		switch {
		case err != nil:
			return nil, nil, err
		case n == 0:
		case h.Type == packet.DISCONNECT:
			return nil, nil, errLeft
		case h.Type != packet.AUTH:
			return nil, nil, &packet.Error{Code: packet.ProtocolError, What: fmt.Sprintf("%s where an AUTH must come", h.Type)}
		case h.Length > maxConnect:
			return nil, nil, tooLarge(h, maxConnect)
		case len(buf)-n >= h.Length:
			a, err := packet.ParseAuth(buf[n : n+h.Length])
			if rest = buf[n+h.Length:]; len(rest) == 0 {
				rest = nil // nothing of a stranger's packet is kept
			}
			return a, rest, err
		case h.Length > maxConnectAlone && !held:
			if held = c.srv.reading.take(c.source(), c.srv.cfg.LongConnects); !held {
				return nil, nil, fmt.Errorf("%w: %w", ErrBusy, errManyLarge)
			}
		}
		if buf, err = c.readMore(buf); err != nil {
			return nil, nil, fmt.Errorf("reading an AUTH: %w", err)
		}
	}
}

// reauthentication is what a connection knows of its enhanced authentication once it is a device's.
type reauthentication struct {
	method  string
	connect Connect
	// Guarded by conn.mu.
	with  Exchange // under way; nil: none is
	busy  bool     // a step is with a worker
	steps int
	until time.Time // it is over then; zero: its client was asked to wait
}

// authenticatesBy keeps for AUTH packets to come by which method the client authenticated.
func (c *conn) authenticatesBy(p *packet.Connect, d ident.Device) {
	c.again = &reauthentication{method: p.AuthMethod, connect: c.connectOf(p)}
	c.again.connect.Device, c.again.connect.TLS, c.again.connect.Password = d, nil, nil
}

// reauthenticate does what an AUTH asks (section 4.12.1), but for the step itself: the connection goes on
// meanwhile with what it may. c.turn is held.
func (c *conn) reauthenticate(body []byte) error {
	said, err := packet.ParseAuth(body)
	if err != nil {
		return err
	}
	r := c.again
	if r == nil {
		return &packet.Error{Code: packet.ProtocolError, What: "AUTH on a connection whose CONNECT named no method"} // section 4.12
	}
	if err := sameMethod(r.method, said); err != nil {
		return err
	}
	x, err := c.nextStep(said.Code == packet.Reauthenticate)
	if err != nil {
		return err
	}
	c.srv.take(request{conn: c, payload: said.Data, step: &step{x, c.reauthenticated}})
	return nil
}

// nextStep gives the exchange that an AUTH is a step of, which then is busy with it.
func (c *conn) nextStep(begins bool) (Exchange, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.again
	switch {
	case begins && r.with != nil:
		return nil, errAgainTooEarly
	case begins:
		r.connect.TLS = c.tls()
		r.with, r.steps, r.until = c.srv.cfg.Methods[r.method](r.connect), 0, time.Now().Add(c.srv.cfg.AuthTimeout)
		r.connect.TLS = nil
	case r.with == nil:
		return nil, &packet.Error{Code: packet.ProtocolError, What: "AUTH that goes on with an authentication that is not under way"}
	case r.busy:
		return nil, &packet.Error{Code: packet.ProtocolError, What: "AUTH before the last one was answered"}
	case r.steps >= maxAuthSteps:
		return nil, errManySteps
	case r.until.IsZero():
		r.until = time.Now().Add(c.srv.cfg.AuthTimeout)
	case time.Now().After(r.until):
		return nil, &packet.Error{Code: packet.NotAuthorized, What: "an authentication that took too long"}
	}
	r.steps++
	r.busy = true
	return r.with, nil
}

// reauthenticated goes on with what a step came to. When it failed the connection ends: its
// client has just shown that it is not, or not any more, what it was.
func (c *conn) reauthenticated(a Answer, err error) {
	wait := errors.Is(err, ErrBusy) && len(a.Data) > 0
	switch {
	case wait:
		err = nil // it hears when to say it again: overload is no reason to end devices' connections
	case err == nil && a.Done:
		err = c.srv.renew(c, a.Standing)
	}
	code := packet.ContinueAuthentication
	c.mu.Lock()
	if c.again.busy = false; err != nil || a.Done {
		c.again.with = nil
	}
	if wait {
		c.again.until = time.Time{}
	}
	c.mu.Unlock()
	if err != nil && c.isEnding() {
		return // it went, or was ended, meanwhile
	}
	if err != nil {
		c.srv.told.Note(context.Background(), slog.LevelInfo, "reauthentication", "mqtt client failed to authenticate again",
			c.who("method", c.again.method, "error", err)...)
		reason := ReasonDenied
		if errors.Is(err, ErrBusy) {
			reason = ReasonBusy
		}
		c.end(reason)
		return
	}
	if a.Done {
		code = packet.Success
	}
	out := c.takes.AppendAuth(nil, packet.Auth{Code: code, Method: c.again.method, Data: a.Data})
	if len(out) == 0 {
		c.end(ReasonTooLarge)
		return
	}
	c.send(out)
}

// renew gives a connection that is a device's already what that device may do from now on.
func (s *Server) renew(c *conn, st Standing) error {
	if err := s.clients.renew(c, st); err != nil {
		return fmt.Errorf("renewing the connection of %v: %w", st.Device, err)
	}
	s.schedule(c)
	return nil
}
