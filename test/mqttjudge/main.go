// Mqttjudge has package mqttd judged from outside: by a collection of raw packet sequences in the
// form of Mosquitto's test/broker/data, which lies wherever the caller has it, or, with -listen,
// by whatever client suite is pointed at it. It never fetches a collection.
//
// Its gate lets everybody do everything, so it listens on loopback only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mqttjudge:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mqttjudge", flag.ContinueOnError)
	collection := flags.String("collection", "", "folder of a collection of sequences: *.json as in Mosquitto's test/broker/data")
	listen := flags.String("listen", "", "address on loopback where any client is served until interrupted")
	other := flags.String("server", "", "address of another server, to be judged instead")
	patience := flags.Duration("patience", 2*time.Second, "with an answer that does not come")
	crumbs := flags.Bool("crumbs", false, "send each byte by itself")
	verbose := flags.Bool("v", false, "log what the server says")
	if err := flags.Parse(args); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if *verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	switch {
	case *listen != "":
		s, err := start(*listen, log)
		if err != nil {
			return err
		}
		defer s.stop()
		fmt.Fprintln(out, "serving MQTT on", s.addr)
		<-ctx.Done()
		return nil
	case *collection == "":
		fmt.Fprintln(out, "skipped: no collection of sequences was given (-collection FOLDER)")
		return nil
	}
	groups, err := readCollection(*collection)
	if err != nil {
		return err
	}
	j := &judge{addr: *other, patience: *patience, crumbs: *crumbs}
	if *other == "" {
		s, err := start("127.0.0.1:0", log)
		if err != nil {
			return err
		}
		defer func() { s.stop() }()
		j.addr = s.addr
		j.renew = func() (string, error) {
			fresh, err := start("127.0.0.1:0", log)
			if err != nil {
				return "", err
			}
			s.stop()
			s = fresh
			return s.addr, nil
		}
	}
	return report(out, j, groups)
}

// report judges, and tells of each group and of each sequence that is not as expected.
func report(out io.Writer, j *judge, groups []group) error {
	var told []string
	var sum [differs + 1]int
	line := func(n [differs + 1]int, what string) {
		fmt.Fprintf(out, "%4d of %4d as expected, %3d with another code, %3d differ  %s\n", n[expected], n[expected]+n[otherCode]+n[differs], n[otherCode], n[differs], what)
	}
	for i := range groups {
		v, err := j.run(&groups[i])
		if err != nil {
			return err
		}
		for i, n := range v.counts {
			sum[i] += n
		}
		line(v.counts, v.group)
		told = append(told, v.told...)
	}
	line(sum, "all")
	for _, t := range told {
		fmt.Fprintln(out, t)
	}
	return nil
}

// A server is mqttd with a gate that lets everybody do everything.
type server struct {
	*mqttd.Server
	addr   string
	served chan error
}

func start(addr string, log *slog.Logger) (*server, error) {
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("the address to listen on: %w", err)
	}
	if !at.IP.IsLoopback() {
		return nil, fmt.Errorf("%s is not on loopback: this server lets everybody do everything", addr)
	}
	g, err := newOpenGate()
	if err != nil {
		return nil, err
	}
	const many = 1 << 20
	s := &server{served: make(chan error, 1)}
	s.Server, err = mqttd.New(mqttd.Config{
		Gate: g, Log: log,
		Respond:      func(context.Context, mqttd.Request) []byte { return nil },
		MaxKeepAlive: time.Minute, // paho's suite asks for a server that has one
		Limits:       intake.Limits{Conns: 1000, Rate: many, Burst: many, PerDevice: 1000, PerPool: 1000, PerSource: 1000},
	})
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, errors.Join(err, s.Close(context.Background()))
	}
	s.addr = ln.Addr().String()
	go func() { s.served <- s.Serve(context.Background(), ln, nil) }()
	return s, nil
}

func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.Close(ctx)
	<-s.served
}

// An openGate takes every client for one device, which may do everything.
type openGate struct{ standing mqttd.Standing }

func newOpenGate() (openGate, error) {
	d, err := ident.ParseDevice("judge:everybody")
	if err != nil {
		return openGate{}, err
	}
	all, err := topic.ParseFilter("#")
	if err != nil {
		return openGate{}, err
	}
	anything := []topic.Filter{all}
	return openGate{mqttd.Standing{Device: d, Permissions: topic.Permissions{Publish: anything, Subscribe: anything, Retain: true}}}, nil
}

// Admit implements mqttd.Gate.
func (g openGate) Admit(context.Context, mqttd.Connect) (mqttd.Standing, error) {
	return g.standing, nil
}
