package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd"
)

// figures are the metrics that are read off when somebody asks for them.
type figures struct {
	doors   map[string]*intake.Intake // by listener
	store   broker.Store
	control *control.Plane
	mqtt    func() mqttd.Figures

	mqttConns, sessions, queued, queuedBytes, retained, retainedBytes, subscriptions *prometheus.Desc

	conns, strangers, limit            *prometheus.Desc
	commits, changes, seconds, waiting *prometheus.Desc
	size, free, reserve                *prometheus.Desc
	clockDoubt, keysChanged, adminsEnd *prometheus.Desc

	keys, keysCreated, keysRetirable *prometheus.Desc
}

func newFigures(doors map[string]*intake.Intake, store broker.Store, plane *control.Plane, mqtt func() mqttd.Figures) *figures {
	desc := prometheus.NewDesc
	return &figures{
		doors: doors, store: store, control: plane, mqtt: mqtt,
		mqttConns:     desc("signet_mqtt_connections", "MQTT connections now whose CONNECT was accepted.", nil, nil),
		sessions:      desc("signet_mqtt_sessions", "MQTT sessions now, with a connection or without.", nil, nil),
		queued:        desc("signet_mqtt_queued_messages", "MQTT messages that wait for clients now, or for their acknowledgements.", nil, nil),
		queuedBytes:   desc("signet_mqtt_queued_bytes", "What those take of memory.", nil, nil),
		retained:      desc("signet_mqtt_retained_messages", "MQTT messages that are retained now.", nil, nil),
		retainedBytes: desc("signet_mqtt_retained_bytes", "What those take of memory.", nil, nil),
		subscriptions: desc("signet_mqtt_subscriptions", "MQTT subscriptions now, but those to clients' own topics of the protocol.", nil, nil),
		conns:         desc("signet_connections", "Connections now, by listener, those in their handshake included.", []string{"listener"}, nil),
		strangers:     desc("signet_connections_strangers", "Connections now that are no device's, by listener.", []string{"listener"}, nil),
		limit:         desc("signet_connections_limit", "Limits on connections at once, by listener and what is bounded. Without a limit there is none.", []string{"listener", "bound"}, nil),
		commits:       desc("signet_store_commits_total", "Transactions of the store.", nil, nil),
		changes:       desc("signet_store_changes_total", "Writing calls that those transactions acknowledged.", nil, nil),
		seconds:       desc("signet_store_commit_seconds_total", "Time that the store's transactions took to reach the disk.", nil, nil),
		waiting:       desc("signet_store_changes_waiting", "Writing calls that wait for their transaction now.", nil, nil),
		size:          desc("signet_store_bytes", "What the store takes of its disk.", nil, nil),
		free:          desc("signet_store_free_bytes", "What is free on the store's disk.", nil, nil),
		reserve:       desc("signet_store_reserve_bytes", "What is kept on the store's disk for what operators do when it is full.", nil, nil),
		clockDoubt: desc("signet_store_clock_doubt_seconds",
			"How far ahead of what has elapsed the clock is, so that the store forgets nothing by it; negative for behind, 0 when it is believed.", nil, nil),
		keysChanged: desc("signet_signing_keys_changed_timestamp_seconds",
			"When the pool's signing keys last changed: one was announced, began to sign, or left.", []string{"pool"}, nil),
		keys: desc("signet_signing_keys", "The pool's signing keys, by phase.", []string{"pool", "phase"}, nil),
		keysCreated: desc("signet_signing_key_created_timestamp_seconds",
			"When the oldest of the pool's signing keys in a phase was made, in Unix time. Without a key in that phase there is none.", []string{"pool", "phase"}, nil),
		keysRetirable: desc("signet_signing_key_retirable_timestamp_seconds",
			"From when on the first of the pool's keys that only verify may be retired, in Unix time. Without such a key there is none.", []string{"pool"}, nil),
		adminsEnd: desc("signet_admin_expiry_timestamp_seconds", "When the token of the last admin of all pools expires, in Unix time; 0 when none is valid.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{f.mqttConns, f.sessions, f.queued, f.queuedBytes, f.retained, f.retainedBytes, f.subscriptions, f.conns, f.strangers, f.limit, f.commits, f.changes, f.seconds, f.waiting, f.size, f.free, f.reserve, f.clockDoubt, f.keysChanged, f.keys, f.keysCreated, f.keysRetirable, f.adminsEnd} {
		to <- d
	}
}

// collectTime bounds what a scrape may take of the store's time.
const collectTime = 2 * time.Second

// Collect implements prometheus.Collector.
func (f *figures) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	m := f.mqtt()
	gauge(f.mqttConns, float64(m.Connections))
	gauge(f.sessions, float64(m.Sessions))
	gauge(f.queued, float64(m.Queued))
	gauge(f.queuedBytes, float64(m.QueuedBytes))
	gauge(f.retained, float64(m.Retained))
	gauge(f.retainedBytes, float64(m.RetainedBytes))
	gauge(f.subscriptions, float64(m.Subscriptions))
	for listener, in := range f.doors {
		open, l := in.Open()
		gauge(f.conns, float64(open), listener)
		gauge(f.strangers, float64(in.Strangers()), listener)
		for bound, n := range map[string]int{"all": l.Conns, "strangers": l.Strangers, "source": l.PerSource, "device": l.PerDevice, "pool": l.PerPool} {
			if n > 0 {
				gauge(f.limit, float64(n), listener, bound)
			}
		}
	}
	if s, ok := f.store.(broker.Measured); ok {
		now := s.Figures()
		counter := func(d *prometheus.Desc, v float64) {
			to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v)
		}
		counter(f.commits, float64(now.Commits))
		counter(f.changes, float64(now.Changes))
		counter(f.seconds, now.CommitTime.Seconds())
		gauge(f.waiting, float64(now.Waiting))
		gauge(f.size, float64(now.Size))
		gauge(f.reserve, float64(now.Reserve))
		if now.Free >= 0 {
			gauge(f.free, float64(now.Free))
		}
		gauge(f.clockDoubt, now.ClockDoubt.Seconds())
	}
	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	if last, _, err := f.control.AdminsEnd(ctx); err == nil { // otherwise /readyz says so
		gauge(f.adminsEnd, float64(max(last.Expires.Unix(), 0)))
	}
	f.collectKeys(ctx, gauge)
}

func (f *figures) collectKeys(ctx context.Context, gauge func(*prometheus.Desc, float64, ...string)) {
	pools, err := f.store.ListPools(ctx)
	if err != nil {
		return // /readyz says so
	}
	for _, p := range pools {
		keys, err := f.store.ListSigningKeys(ctx, p.Name)
		if err != nil {
			return
		}
		f.collectPoolKeys(gauge, p.Name.String(), keys)
	}
}

// collectPoolKeys tells of one pool's keys how many are in which phase, and when the next step is due.
func (f *figures) collectPoolKeys(gauge func(*prometheus.Desc, float64, ...string), pool string, keys []broker.SigningKey) {
	var changed, retirable time.Time
	number, oldest := map[broker.KeyState]int{}, map[broker.KeyState]time.Time{}
	for _, k := range keys {
		number[k.State]++
		if k.Changed.After(changed) {
			changed = k.Changed
		}
		if at, known := oldest[k.State]; !known || k.Created.Before(at) {
			oldest[k.State] = k.Created
		}
		if at := k.Retirable(); !at.IsZero() && (retirable.IsZero() || at.Before(retirable)) {
			retirable = at
		}
	}
	if !changed.IsZero() {
		gauge(f.keysChanged, float64(changed.Unix()), pool)
	}
	if !retirable.IsZero() {
		gauge(f.keysRetirable, float64(retirable.Unix()), pool)
	}
	for _, phase := range []broker.KeyState{broker.KeyNext, broker.KeyActive, broker.KeyVerifying} {
		gauge(f.keys, float64(number[phase]), pool, string(phase))
		if at, known := oldest[phase]; known {
			gauge(f.keysCreated, float64(at.Unix()), pool, string(phase))
		}
	}
}

// measure registers what is measured beside the exchange.
func (d *Daemon) measure(https *intake.Intake) error {
	doors := map[string]*intake.Intake{"mqtt": d.mqtt.Intake(), "https": https}
	return errors.Join(
		d.metrics.Register(collectors.NewGoCollector()),
		d.metrics.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
		d.metrics.Register(newFigures(doors, d.store, d.Control, d.mqtt.Figures)),
	)
}

// throttled counts the packets of strangers that the MQTT server reads slowly.
func throttled(reg prometheus.Registerer) (func(), error) {
	c := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "signet_mqtt_packets_throttled_total", Help: "MQTT packets that were read slowly, because a connection that is no device's sent many.",
	})
	return c.Inc, reg.Register(c)
}

// bounded counts what clients of the MQTT server have met of its bounds beside.
func bounded(reg prometheus.Registerer) (func(mqttd.Bound), error) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "signet_mqtt_bounds_total", Help: "Times that MQTT clients met a bound that refused them neither connection nor message, by bound.",
	}, []string{"bound"})
	for _, b := range mqttd.Bounds {
		c.WithLabelValues(string(b))
	}
	return func(b mqttd.Bound) { c.WithLabelValues(string(b)).Inc() }, reg.Register(c)
}

// dropped counts the messages that the MQTT server did not deliver.
func dropped(reg prometheus.Registerer) (func(mqttd.Drop, int), error) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "signet_mqtt_messages_dropped_total", Help: "MQTT messages that were not delivered, by cause.",
	}, []string{"cause"})
	for _, why := range mqttd.Drops {
		c.WithLabelValues(string(why))
	}
	return func(why mqttd.Drop, n int) { c.WithLabelValues(string(why)).Add(float64(n)) }, reg.Register(c)
}

// endings counts the MQTT connections that the server ended.
func endings(reg prometheus.Registerer) (func(mqttd.Reason), error) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "signet_mqtt_ended_total", Help: "MQTT connections that the broker ended after their CONNECT, by reason.",
	}, []string{"reason"})
	for _, r := range mqttd.Reasons {
		c.WithLabelValues(r.String())
	}
	return func(r mqttd.Reason) { c.WithLabelValues(r.String()).Inc() }, reg.Register(c)
}
