package bench

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// mqttEnv is the file for the MQTT server's addresses.
const mqttEnv = "SIGNET_BENCH_MQTT"

// mqttServer serves MQTT for whoever names a device, plain and over TLS, and answers a request
// with what it asked.
func mqttServer() error {
	many := 1 << 16
	s, err := mqttd.New(mqttd.Config{
		Gate: anybody{}, Respond: func(_ context.Context, r mqttd.Request) []byte { return r.Payload },
		DeviceRequests: mqttd.RequestLimit{PerSecond: -1},
		Limits:         intake.Limits{Conns: many, Strangers: many, PerSource: many, PerPool: many, Rate: 1e6, Burst: 1e6},
	})
	if err != nil {
		return err
	}
	return serveBoth(mqttEnv, func(ln net.Listener, conf *tls.Config) error { return s.Serve(context.Background(), ln, conf) })
}

// Devices that may do more than what is their own, and the topic that all listen to.
const (
	hub       = "hub"       // answers others, and publishes to all
	listening = "listener-" // begins the names of those that listen
	common    = "common/state"
)

// anybody is a Gate for every device.
type anybody struct{}

func (anybody) Admit(_ context.Context, c mqttd.Connect) (mqttd.Standing, error) {
	name, _, _ := strings.Cut(c.UserName, "/")
	d, err := ident.ParseDevice(name)
	if err != nil {
		return mqttd.Standing{}, err
	}
	may := topic.Own(d)
	switch also := ""; {
	case d.Name.String() == hub:
		for _, also = range []string{"devices/#", common} {
			f, err := topic.ParseFilter(also)
			if err != nil {
				return mqttd.Standing{}, err
			}
			may.Publish, may.Subscribe = append(may.Publish, f), append(may.Subscribe, f)
		}
	case strings.HasPrefix(d.Name.String(), listening):
		f, err := topic.ParseFilter(common)
		if err != nil {
			return mqttd.Standing{}, err
		}
		may.Subscribe = append(may.Subscribe, f)
	}
	return mqttd.Standing{Device: d, Permissions: may, Expires: time.Now().Add(time.Hour)}, nil
}

// crowdSize is how many connections are kept: 10,000, or SIGNET_BENCH_CROWD.
func crowdSize(b *testing.B) int {
	b.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("SIGNET_BENCH_CROWD"), "10000"))
	if err != nil || n < 1 {
		b.Fatalf("SIGNET_BENCH_CROWD=%q is no number of connections", os.Getenv("SIGNET_BENCH_CROWD"))
	}
	return n
}

// BenchmarkIdleSubscriber is the MQTT server's resident memory for each device that is online
// and silent, its session, grant and one subscription included, after it has published to
// itself four times 600 bytes, beside Mosquitto's: plain or over TLS. Kernel memory is not in it.
func BenchmarkIdleSubscriber(b *testing.B) {
	if b.N > 1 { // one crowd says it all
		b.Skip("run with -benchtime 1x")
	}
	for _, sec := range security {
		for name, start := range map[string]func(*testing.B) *peer{
			"signet": func(b *testing.B) *peer { return serverChild(b, mqttEnv) }, "mosquitto": newMosquitto,
		} {
			b.Run(sec.name+"/"+name, func(b *testing.B) {
				p := start(b)
				address, conf := p.at(sec.tls)
				crowd(b, p.child, func(i int) (net.Conn, error) { return subscribed(address, conf, i) })
			})
		}
	}
}

// few are so many that what a server takes in any case is behind it: its buffers, and the first
// garbage.
const few = 2000

// BenchmarkIdleSlope is BenchmarkIdleSubscriber over TLS at 18,000, as many as descriptors of one
// process allow here, and what one of them takes beyond the first 2,000.
func BenchmarkIdleSlope(b *testing.B) {
	if b.N > 1 { // one crowd says it all
		b.Skip("run with -benchtime 1x")
	}
	const many = 18_000
	p := serverChild(b, mqttEnv)
	open := func(i int) (net.Conn, error) { return subscribed(p.secure, anyServer(), i) }
	base := p.status(b, "VmRSS")
	defer scatter(gather(b, 0, few, open))
	settle(b)
	first := p.status(b, "VmRSS")
	defer scatter(gather(b, few, many, open))
	settle(b)
	last := p.status(b, "VmRSS")
	b.ReportMetric((last-base)/many, "KiB/conn")
	b.ReportMetric((last-first)/(many-few), "KiB-slope")
	b.ReportMetric(last/1024, "MiB-in-all")
	reportIdle(b, p.child)
	b.ReportMetric(0, "ns/op")
}

// gather opens connections of the clients from first to last.
func gather(b *testing.B, first, last int, open func(i int) (net.Conn, error)) []net.Conn {
	b.Helper()
	conns := make([]net.Conn, last-first)
	var failed atomic.Pointer[error]
	spread(len(conns), 32, func(i int) {
		if failed.Load() != nil {
			return
		}
		var err error
		if conns[i], err = open(first + i); err != nil {
			failed.Store(&err)
		}
	})
	if err := failed.Load(); err != nil {
		scatter(conns)
		b.Fatal(*err)
	}
	return conns
}

// scatter closes connections.
func scatter(conns []net.Conn) {
	for _, nc := range conns {
		if nc != nil {
			_ = nc.Close()
		}
	}
}

// handful is so many that a server has run what serving a connection takes, and so few that they
// leave next to nothing behind.
const handful = 8

// crowd opens connections and reports what each takes of the server, beyond what it takes as soon as
// it has served any: code that is in memory once it was run, above all, which would count for more in a
// small crowd than in a large one.
func crowd(b *testing.B, server *child, open func(i int) (net.Conn, error)) {
	b.Helper()
	n := crowdSize(b)
	scatter(gather(b, n, n+handful, open))
	base, began := server.status(b, "VmRSS"), server.cpu(b)
	defer scatter(gather(b, 0, n, open))
	b.ReportMetric(server.since(b, began, n), "cpu-us/conn")
	b.ReportMetric((server.status(b, "VmRSS")-base)/float64(n), "KiB-at-once")
	settle(b)
	b.ReportMetric((server.status(b, "VmRSS")-base)/float64(n), "KiB/conn")
	reportIdle(b, server)
	b.ReportMetric(0, "ns/op")
}

// reportIdle reports the CPU of a server that has nothing to do.
func reportIdle(b *testing.B, server *child) {
	b.Helper()
	const watched = 5 * time.Second
	began := server.cpu(b)
	time.Sleep(watched)
	b.ReportMetric(100*(server.cpu(b)-began).Seconds()/watched.Seconds(), "%-idle-cpu")
}

// subscribed gives the connection of a device that was used.
func subscribed(address string, conf *tls.Config, i int) (net.Conn, error) {
	c, err := opened(address, conf, fmt.Sprintf("demo:lamp-%d", i), i)
	if err != nil {
		return nil, err
	}
	own := fmt.Sprintf("devices/demo/lamp-%d/", i)
	err = c.subscribe(own+"#", 0)
	send := packet.AppendPublish(nil, packet.V5, &packet.Publish{Topic: []byte(own + "state"), Payload: make([]byte, 600)})
	for range 4 {
		if err == nil {
			err = c.send(send)
		}
		if err == nil {
			_, err = c.until(packet.PUBLISH)
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.nc.Close())
	}
	return c.nc, nil
}
