package adminapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/reach"
)

// Bounds on traces; the figures are chosen.
const (
	defaultTrace  = time.Minute
	maxTrace      = 10 * time.Minute
	traceWrite    = 30 * time.Second // for a line to be taken
	maxTracedLine = 64 << 10         // bytes of a line
)

const ndjson = "application/x-ndjson"

// A TracedPacket is a line of a trace: one MQTT packet of the device, or the end of a connection or of the trace.
type TracedPacket struct {
	Time       time.Time `json:"time"`
	From       string    `json:"from" enum:"device,broker" doc:"Who sent it"`
	Connection string    `json:"connection,omitempty" doc:"Its id; see connections"`
	ClientID   string    `json:"clientId,omitempty"`
	Type       string    `json:"type" doc:"CONNECT, PUBLISH and so on; closed for the end of the connection, end for that of the trace"`
	ID         int       `json:"id,omitempty" doc:"Packet identifier"`
	QoS        *int      `json:"qos,omitempty" doc:"Of a PUBLISH"`
	Dup        bool      `json:"dup,omitempty"`
	Retain     bool      `json:"retain,omitempty"`
	Topic      string    `json:"topic,omitempty" doc:"Of a PUBLISH, though an alias stands for it, or of a CONNECT's will"`
	Filters    []string  `json:"filters,omitempty" nullable:"false" doc:"Of a SUBSCRIBE or UNSUBSCRIBE"`
	Codes      []string  `json:"codes,omitempty" nullable:"false" doc:"Reason codes that it says, with their names"`
	Properties []string  `json:"properties,omitempty" nullable:"false" doc:"Names of its MQTT 5 properties"`
	Size       int       `json:"size,omitempty" doc:"Bytes of the whole packet"`
	Length     *int      `json:"length,omitempty" doc:"Bytes of a PUBLISH's payload"`
	Payload    []byte    `json:"payload,omitempty" doc:"Its first 4 KiB, if asked for; never of the protocol's own topics"`
	Wrong      string    `json:"wrong,omitempty" doc:"Why it is no packet, or none that may be sent"`
	Lost       uint64    `json:"lost,omitempty" doc:"Packets before this line that were not told of, because there were too many"`
}

type traceInput struct {
	DevicePath
	For     string `query:"for" maxLength:"40" doc:"For how long, at most 10m; 60s if absent" example:"2m"`
	Payload bool   `query:"payload" doc:"With the payloads of messages, but those of the protocol's own topics. It needs scope admin"`
}

func (in *traceInput) length() (time.Duration, error) {
	if in.For == "" {
		return defaultTrace, nil
	}
	d, err := ParseDuration(in.For)
	if err != nil {
		return 0, err
	}
	if long := time.Duration(d); long < time.Second || long > maxTrace {
		return 0, broker.Invalid("for", "%s, want 1s to %s", d, Duration(maxTrace))
	}
	return time.Duration(d), nil
}

func (s *service) traceRoutes(api huma.API) {
	op := action(broker.OperatorWrite, devicesPath+"/{name}/trace", "trace-device", "Follow the MQTT packets of a device at this broker for a while, a line of JSON each, without what they carry", "connections")
	describe(&op)
	line := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[TracedPacket](), true, "")
	op.Responses = map[string]*huma.Response{"200": {Description: "Lines of JSON, as the packets come", Content: map[string]*huma.MediaType{ndjson: {Schema: line}}}}
	huma.Register(api, op, func(ctx context.Context, in *traceInput) (*huma.StreamResponse, error) {
		t, id, long, err := s.trace(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			defer t.Close()
			_, w := humago.Unwrap(hctx)
			hctx.SetHeader("Content-Type", ndjson)
			packets, err := s.stream(hctx.Context(), w, t, long)
			s.cfg.Log.InfoContext(ctx, "trace of a device ended", "request", callOf(ctx).id, "device", id.String(), "packets", packets, "err", err)
		}}, nil
	})
}

// trace begins one, if the operator may have it.
func (s *service) trace(ctx context.Context, in *traceInput) (t broker.PacketTrace, id ident.Device, long time.Duration, err error) {
	c, err := s.connections()
	if err != nil {
		return nil, id, 0, err
	}
	if in.Payload {
		if p := callOf(ctx).scope(broker.OperatorAdmin); p != nil {
			return nil, id, 0, p
		}
	}
	if long, err = in.length(); err != nil {
		return nil, id, 0, err
	}
	if id, err = in.device(); err != nil {
		return nil, id, 0, err
	}
	if _, err = s.dir.Device(ctx, id); err != nil {
		return nil, id, 0, err
	}
	if t, err = c.Trace(ctx, byOf(ctx), id, in.Payload); err != nil {
		return nil, id, 0, err
	}
	level, msg := slog.LevelInfo, "an operator traces a device's packets"
	if in.Payload {
		level, msg = slog.LevelWarn, "an operator traces a device's packets with their payloads"
	}
	s.cfg.Log.Log(ctx, level, msg, "request", callOf(ctx).id, "actor", string(callOf(ctx).actor), "device", id.String(), "for", long)
	return t, id, long, nil
}

// stream writes the lines of a trace until its time is over, or who reads it is gone.
func (s *service) stream(ctx context.Context, w http.ResponseWriter, t broker.PacketTrace, long time.Duration) (packets int, err error) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	out := http.NewResponseController(w)
	if err := out.SetReadDeadline(time.Time{}); err != nil {
		return 0, err
	}
	write := func(line TracedPacket) error {
		raw, err := json.Marshal(line)
		if err != nil {
			return err
		}
		if err := out.SetWriteDeadline(time.Now().Add(traceWrite)); err != nil {
			return err
		}
		if _, err := w.Write(append(raw, '\n')); err != nil {
			return err
		}
		return out.Flush()
	}
	if err := out.SetWriteDeadline(time.Now().Add(traceWrite)); err != nil {
		return 0, err
	}
	w.WriteHeader(http.StatusOK)
	if err := out.Flush(); err != nil {
		return 0, err
	}
	for {
		p, ok := t.Next(ctx)
		if !ok {
			return packets, write(TracedPacket{Time: s.cfg.Now().UTC(), From: "broker", Type: "end", Lost: t.Lost()})
		}
		packets++
		if err := write(wirePacket(s.cfg.Connections, &p)); err != nil {
			return packets, err
		}
	}
}

func wirePacket(c *control.Connections, p *broker.TracedPacket) TracedPacket {
	out := TracedPacket{
		Time: p.At.UTC(), From: "device", ClientID: p.ClientID, Type: p.Type, ID: p.ID, Dup: p.Dup, Retain: p.Retain, Topic: p.Topic, Filters: p.Filters,
		Codes: p.Codes, Properties: p.Properties, Size: p.Size, Payload: p.Payload, Wrong: p.Wrong, Lost: p.Lost,
	}
	if p.Sent {
		out.From = "broker"
	}
	if p.Connection > 0 {
		out.Connection = c.ID(&broker.Connection{Number: p.Connection})
	}
	if p.Type == "PUBLISH" && p.Wrong == "" {
		out.QoS, out.Length = &p.QoS, &p.Length
	}
	return out
}

// A TraceQuery says how a device is traced.
type TraceQuery struct {
	For     Duration // 0: the broker's default
	Payload bool
}

// Trace follows a device's packets, and gives each line to visit, the last of type end, until the
// broker ends it or visit gives an error.
func (p PoolClient) Trace(ctx context.Context, device string, q TraceQuery, visit func(TracedPacket) error) error {
	v := url.Values{}
	if q.For > 0 {
		v.Set("for", q.For.String())
	}
	if q.Payload {
		v.Set("payload", "true")
	}
	path := strings.TrimSuffix(p.path+join("devices", device, "trace")+"?"+v.Encode(), "?")
	body, err := p.c.follow(ctx, http.MethodPost, path)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxTracedLine)
	ended := false
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var line TracedPacket
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("decode answer: %w", err)
		}
		ended = ended || line.Type == "end"
		if err := visit(line); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read answer: %w", reach.Explain(err))
	}
	if !ended {
		return fmt.Errorf("the broker ended the trace early")
	}
	return nil
}
