package bench

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"testing"
)

// BenchmarkIdleHTTPS is the resident memory for each silent connection to signetd's HTTPS port on which a key set was
// fetched, over HTTP/1.1 and HTTP/2: of signetd, and of a client that has a http.Transport for each. Kernel memory is
// not in it.
func BenchmarkIdleHTTPS(b *testing.B) {
	if b.N > 1 { // one crowd says it all
		b.Skip("run with -benchtime 1x")
	}
	n := min(crowdSize(b), few)
	for _, version := range []int{1, 2} {
		b.Run(fmt.Sprintf("HTTP%d", version), func(b *testing.B) {
			many := fmt.Sprint(2 * n)
			server := newBroker(b, "SIGNET_LIMITS_HTTPS_CONNECTIONS="+many, "SIGNET_LIMITS_PER_SOURCE="+many, "SIGNET_LIMITS_BURST="+many)
			raw, err := os.ReadFile(server.ca)
			if err != nil {
				b.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(raw)
			self, err := os.FindProcess(os.Getpid())
			if err != nil {
				b.Fatal(err)
			}
			client := &child{Cmd: &exec.Cmd{Process: self}}
			debug.FreeOSMemory()
			before, own := server.status(b, "VmRSS"), client.status(b, "VmRSS")
			ways := make([]*http.Transport, n)
			defer func() {
				for _, w := range ways {
					w.CloseIdleConnections()
				}
			}()
			failed := make([]error, n)
			spread(n, 32, func(i int) {
				ways[i], failed[i] = fetched(server.dev["SIGNET_SERVER"]+"/pools/demo/.well-known/jwks.json", roots, version)
			})
			if err := errors.Join(failed...); err != nil {
				b.Fatal(err)
			}
			settle(b)
			debug.FreeOSMemory()
			b.ReportMetric((server.status(b, "VmRSS")-before)/float64(n), "server-KiB/conn")
			b.ReportMetric((client.status(b, "VmRSS")-own)/float64(n), "client-KiB/conn")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// fetched gives a way with one connection on which something was fetched.
func fetched(url string, roots *x509.CertPool, version int) (*http.Transport, error) {
	way := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: version == 2}
	r, err := (&http.Client{Transport: way}).Get(url)
	if err != nil {
		return way, err
	}
	_, err = io.Copy(io.Discard, r.Body)
	if err = errors.Join(err, r.Body.Close()); err == nil && (r.StatusCode != http.StatusOK || r.ProtoMajor != version) {
		err = fmt.Errorf("%s: %s %s", url, r.Proto, r.Status)
	}
	return way, err
}
