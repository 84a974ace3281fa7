package mqttlink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// ErrProxy is wrapped when an HTTP proxy does not let the connection through.
var ErrProxy = errors.New("HTTP proxy")

// maxProxyAnswer bounds the head of a proxy's answer, in bytes.
const maxProxyAnswer = 8 << 10

// ProxyOf gives the proxy on the way to the broker, as host:port without its password; ""
// if there is none. Errors wrap ErrURL or ErrProxy.
func ProxyOf(broker string, proxy func(*http.Request) (*url.URL, error)) (string, error) {
	u, err := parseURL(broker)
	if err != nil {
		return "", err
	}
	p, err := proxyFor(u, proxy)
	if p == nil {
		return "", err
	}
	return p.Host, nil
}

// proxyFor asks which proxy is on the way to the broker; nil for none. What it is told may
// hold a password, so no error repeats it.
func proxyFor(broker *url.URL, proxy func(*http.Request) (*url.URL, error)) (*url.URL, error) {
	if proxy == nil || broker.Scheme == schemePlain {
		return nil, nil
	}
	p, err := proxy(&http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: broker.Host}})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: its address is no URL", ErrProxy)
	case p == nil:
		return nil, nil
	case p.Scheme != "http" || p.Hostname() == "":
		return nil, fmt.Errorf("%w: its address is no http://host:port", ErrProxy)
	}
	at := *p
	if at.Port() == "" {
		at.Host = net.JoinHostPort(at.Hostname(), "80")
	}
	return &at, nil
}

// through connects to address by way of the proxy (CONNECT: RFC 9110, section 9.3.6).
func through(ctx context.Context, proxy *url.URL, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", proxy.Host)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProxy, err)
	}
	unblock := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = tunnel(conn, proxy, address)
	if !unblock() {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w %s: %w", ErrProxy, proxy.Host, err)
	}
	return conn, nil
}

// tunnel asks the proxy at the other end of conn to pass bytes on to address.
func tunnel(conn net.Conn, proxy *url.URL, address string) error {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{"User-Agent": {"signet"}}}
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		req.SetBasicAuth(proxy.User.Username(), password)
		req.Header["Proxy-Authorization"] = req.Header["Authorization"]
		delete(req.Header, "Authorization")
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.LimitReader(conn, maxProxyAnswer), 512)
	answer, err := http.ReadResponse(r, req) //nolint:bodyclose // what follows is the tunnel
	if err != nil {
		return errors.New("what answers there is no HTTP proxy")
	}
	switch code := answer.StatusCode; {
	case code == http.StatusProxyAuthRequired && proxy.User == nil:
		return errors.New("it wants a user name and a password")
	case code == http.StatusProxyAuthRequired:
		return errors.New("it does not take this user name and password")
	case code == http.StatusForbidden:
		return fmt.Errorf("it lets nobody through to %s", address)
	case code/100 != 2:
		return fmt.Errorf("it does not reach %s: it answers %s", address, statusLine(code))
	case r.Buffered() > 0:
		return errors.New("it says more than it was asked")
	}
	return nil
}

// statusLine is a status code in words of this side's: whoever answers chooses his own.
func statusLine(code int) string {
	if text := http.StatusText(code); text != "" {
		return fmt.Sprintf("%d %s", code, text)
	}
	return fmt.Sprint(code)
}
