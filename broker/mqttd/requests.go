package mqttd

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/signetd/signet/broker/tally"
)

// requests is a bounded queue with workers that come with work and go without.
type requests struct {
	mu      sync.Mutex // guards both: a worker leaves only when it sees an empty queue
	waiting []request
	workers int
}

type request struct {
	conn    *conn
	payload []byte
}

// request queues a client's request, or drops it when the client or the server
// has too many: requests are QoS 0 in spirit, a client asks again.
func (s *Server) request(c *conn, payload []byte) {
	if len(payload) > maxRequest || !s.clients.beginJob(c) {
		s.told.Note(s.ctx, slog.LevelInfo, "request", "mqtt request dropped", "client", c.id.String(), "bytes", len(payload))
		return
	}
	q := &s.requests
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= s.cfg.Queue {
		s.clients.finishJob(c)
		s.told.Note(s.ctx, slog.LevelWarn, "queue", "mqtt requests are coming faster than they are answered", "queue", s.cfg.Queue)
		return
	}
	q.waiting = append(q.waiting, request{c, payload})
	if q.workers < s.cfg.Workers {
		q.workers++
		s.wg.Go(s.work)
	}
}

func (s *Server) work() {
	for {
		r, ok := s.requests.next()
		if !ok {
			return
		}
		s.answer(r)
	}
}

func (q *requests) next() (request, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.workers--
		q.waiting = nil
		return request{}, false
	}
	r := q.waiting[0]
	q.waiting[0] = request{}
	q.waiting = q.waiting[1:]
	return r, true
}

// answer calls the Responder and sends its reply.
func (s *Server) answer(r request) {
	defer s.clients.finishJob(r.conn)
	defer recovered(s.told, "answering a request")
	reply := s.cfg.Respond(s.ctx, Request{
		ClientID: r.conn.id.String(), Remote: r.conn.RemoteAddr(), Channel: r.conn.channel(), Vouched: r.conn.vouched(), Payload: r.payload,
	})
	if reply != nil {
		if err := r.conn.push(r.conn.id.Reply(), reply); err != nil {
			s.told.Note(s.ctx, slog.LevelDebug, "reply", "mqtt reply dropped", "client", r.conn.id.String(), "error", err)
		}
	}
}

// recovered keeps a panic from ending the process. The stack holds no packet.
func recovered(told *tally.Log, doing string) {
	if r := recover(); r != nil {
		told.Note(context.Background(), slog.LevelError, "panic "+doing, "panic in the MQTT server", "doing", doing, "panic", r, "stack", string(debug.Stack()))
	}
}
