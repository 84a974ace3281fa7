package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
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

// mqttServer serves MQTT for whoever names a device, plain and over TLS.
func mqttServer() error {
	conf, err := minimalTLS()
	if err != nil {
		return err
	}
	s, err := mqttd.New(mqttd.Config{
		Gate: anybody{}, Respond: func(context.Context, mqttd.Request) []byte { return nil },
		Limits: intake.Limits{Conns: 2 * streams, Strangers: 2 * streams, PerSource: 2 * streams, PerPool: 2 * streams, Rate: 1e6, Burst: 1e6},
	})
	if err != nil {
		return err
	}
	var addresses []byte
	failed := make(chan error)
	for _, conf := range []*tls.Config{nil, conf} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addresses = fmt.Appendf(addresses, "%s\n", ln.Addr())
		go func() { failed <- s.Serve(context.Background(), ln, conf) }()
	}
	if err := os.WriteFile(os.Getenv(mqttEnv), addresses, 0o600); err != nil {
		return err
	}
	return <-failed
}

// anybody is a Gate for every device.
type anybody struct{}

func (anybody) Admit(_ context.Context, c mqttd.Connect) (mqttd.Standing, error) {
	d, err := ident.ParseDevice(c.UserName)
	if err != nil {
		return mqttd.Standing{}, err
	}
	return mqttd.Standing{Device: d, Permissions: topic.Own(d), Expires: time.Now().Add(time.Hour)}, nil
}

// BenchmarkIdleSubscriber is the MQTT server's resident memory for each device that is online
// and silent, its session, grant and one subscription included, after it has published to
// itself four times 600 bytes: at 10,000 plain or TLS connections. Kernel memory is not in it.
func BenchmarkIdleSubscriber(b *testing.B) {
	if b.N > 1 { // one crowd says it all
		b.Skip("run with -benchtime 1x")
	}
	for at, secure := range []string{"plain", "TLS"} {
		b.Run(secure, func(b *testing.B) {
			c, addresses := serverChild(b, mqttEnv, 2)
			conf := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // our own child
			if secure == "plain" {
				conf = nil
			}
			crowd(b, c, func(i int) (net.Conn, error) { return subscribed(addresses[at], conf, i) })
		})
	}
}

// crowd opens connections and reports what each takes of the server.
func crowd(b *testing.B, server *child, open func(i int) (net.Conn, error)) {
	b.Helper()
	base, began := server.status(b, "VmRSS"), server.cpu(b)
	conns := make([]net.Conn, streams)
	defer func() {
		for _, nc := range conns {
			if nc != nil {
				_ = nc.Close()
			}
		}
	}()
	spread(streams, 8, func(i int) {
		nc, err := open(i)
		if err != nil {
			b.Error(err)
			return
		}
		conns[i] = nc
	})
	if b.Failed() {
		return
	}
	b.ReportMetric(float64((server.cpu(b)-began).Microseconds())/streams, "cpu-us/conn")
	b.ReportMetric((server.status(b, "VmRSS")-base)/streams, "KiB-at-once")
	settle(b)
	b.ReportMetric((server.status(b, "VmRSS")-base)/streams, "KiB/conn")
	began = server.cpu(b)
	time.Sleep(5 * time.Second)
	b.ReportMetric(100*(server.cpu(b)-began).Seconds()/5, "%-idle-cpu")
	b.ReportMetric(0, "ns/op")
}

// dial gives a connection, over TLS with conf.
func dial(address string, conf *tls.Config) (net.Conn, error) {
	nc, err := net.Dial("tcp", address)
	if err != nil || conf == nil {
		return nc, err
	}
	return tls.Client(nc, conf), nil
}

// subscribed gives the connection of a device that was used.
func subscribed(address string, conf *tls.Config, i int) (net.Conn, error) {
	nc, err := dial(address, conf)
	if err != nil {
		return nil, err
	}
	device := fmt.Sprintf("demo:lamp-%d", i)
	own := fmt.Sprintf("devices/demo/lamp-%d/", i)
	send := packet.AppendConnect(nil, &packet.Connect{
		Version: packet.V5, CleanStart: true, KeepAlive: 600, ClientID: device,
		HasUserName: true, UserName: device, HasPassword: true, Password: []byte("x"),
		ReceiveMaximum: 0xffff, RequestProblemInformation: true,
	})
	err = trip(nc, send, packet.CONNACK)
	if err == nil {
		send = packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{ID: 1, Filters: []packet.Filter{{Text: own + "#"}}})
		err = trip(nc, send, packet.SUBACK)
	}
	send = packet.AppendPublish(nil, packet.V5, &packet.Publish{Topic: []byte(own + "state"), Payload: make([]byte, 600)})
	for range 4 {
		if err == nil {
			err = trip(nc, send, packet.PUBLISH)
		}
	}
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return nc, nil
}

// trip sends a packet and reads one of that type.
func trip(nc net.Conn, send []byte, want packet.Type) error {
	if _, err := nc.Write(send); err != nil {
		return err
	}
	buf := make([]byte, 0, 1024)
	for {
		n, err := nc.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", want, err)
		}
		buf = buf[:len(buf)+n]
		h, n, err := packet.ReadHeader(buf)
		switch {
		case err != nil:
			return err
		case n == 0 || len(buf) < n+h.Length:
		case h.Type != want || len(buf) > n+h.Length:
			return fmt.Errorf("%s of %d bytes in %d, want %s", h.Type, h.Length, len(buf), want)
		default:
			return nil
		}
	}
}
