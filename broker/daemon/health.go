package daemon

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// healthHandler serves /livez, /readyz, /metrics and, where it is asked for, /debug/pprof/.
func (d *Daemon) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !d.ready.Load() {
			http.Error(w, "not serving", http.StatusServiceUnavailable)
			return
		}
		if _, err := d.store.ListPools(r.Context()); err != nil {
			http.Error(w, "store: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.metrics, promhttp.HandlerOpts{}))
	if !d.cfg.Health.Profiles {
		return mux
	}
	mux.HandleFunc("/debug/pprof/", fromHere(pprof.Index))
	mux.HandleFunc("/debug/pprof/profile", fromHere(pprof.Profile))
	mux.HandleFunc("/debug/pprof/symbol", fromHere(pprof.Symbol))
	mux.HandleFunc("/debug/pprof/trace", fromHere(pprof.Trace))
	return mux
}

// fromHere lets requests of this machine alone through, wherever health listens: a
// probe may come from elsewhere, who takes profiles has a shell.
func fromHere(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		at, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !at.Addr().Unmap().IsLoopback() {
			http.Error(w, "profiles are for requests from this machine", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}
