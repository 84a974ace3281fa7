package command

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/firmware"
	"github.com/signetd/signet/firmware-sim/fleet"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/environ"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/textfile"
)

const (
	usualFaults = 0.02 // share of calls
	usualRate   = 100  // devices per second, steady
	maxFile     = 64 << 10
	maxReport   = 16 << 20
)

// runFlags are the flags of run as they were typed.
type runFlags struct {
	broker, ca, pool, token, prefix, scenario, faults, key, report string
	devices, concurrency, authentications                          int
	seed                                                           uint64
	rate                                                           float64
	timeout                                                        time.Duration
}

func (p *program) runCommand() *cobra.Command {
	var o runFlags
	cmd := &cobra.Command{
		Use: "run", Short: "Enroll and authenticate devices", Args: p.arguments,
		Example: "  firmware-sim run --broker mqtts://localhost:8883 --ca root.pem --token TOKEN --devices 5000\n" +
			"  firmware-sim run --broker mqtts://localhost:8883 --ca root.pem --token @token.txt --scenario storm --faults off",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return p.run(cmd.Context(), &o) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.broker, "broker", "", "`URL` of the broker, mqtts://host:8883 or wss://host/mqtt; also "+environ.Broker)
	f.StringVar(&o.ca, "ca", "", "PEM `file` with the root that the broker's certificate comes from; also "+environ.CA)
	f.StringVar(&o.pool, "pool", "", "the devices' `pool` (default demo); also "+environ.Pool)
	f.StringVar(&o.token, "token", "", "enrollment `token` with a use for each device, or @FILE; also "+environ.Enrollment)
	f.StringVar(&o.prefix, "prefix", "", "devices are `PREFIX`-00001 and so on (default sim- and four random letters)")
	f.IntVar(&o.devices, "devices", 100, "`number` of devices")
	f.StringVar(&o.scenario, "scenario", "steady", "steady, storm or a `FILE` with a scenario in JSON")
	f.Uint64Var(&o.seed, "seed", 1, "`number` from which faults and arrivals follow")
	f.Float64Var(&o.rate, "rate", 0, "devices per `second` in the scenario steady (default 100)")
	f.IntVar(&o.concurrency, "concurrency", 64, "`number` of devices at work at a time; all stay connected")
	f.IntVar(&o.authentications, "authentications", 1, "`number` of authentications per device in steady and storm")
	f.StringVar(&o.faults, "faults", strconv.FormatFloat(usualFaults, 'g', -1, 64), "`share` of calls in which something goes wrong, 0 to 1, or off")
	f.StringVar(&o.key, "key", "p256", "the devices' keys: p256, ed25519 or mixed")
	f.StringVar(&o.report, "report", "", "`file` to write the report to, in JSON; - for standard output")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "limit on the whole run")
	for name, values := range map[string][]string{"scenario": {string(fleet.Steady), string(fleet.Storm)}, "key": {"p256", "ed25519", "mixed"}, "faults": {"off"}} {
		directive := cobra.ShellCompDirectiveNoFileComp
		if name == "scenario" {
			directive = cobra.ShellCompDirectiveDefault
		}
		if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, directive)); err != nil { // a flag's name mistyped here
			cmd.PreRunE = func(*cobra.Command, []string) error { return err }
		}
	}
	return cmd
}

// complete reads from variables what no flag says.
func (o *runFlags) complete(p *program) {
	for _, f := range []struct {
		flag     *string
		variable string
	}{{&o.broker, environ.Broker}, {&o.ca, environ.CA}, {&o.pool, environ.Pool}, {&o.token, environ.Enrollment}} {
		if *f.flag == "" {
			*f.flag = p.getenv(f.variable)
		}
	}
	if o.pool == "" {
		o.pool = "demo"
	}
}

func (p *program) run(ctx context.Context, o *runFlags) error {
	o.complete(p)
	c, err := o.config()
	if err != nil {
		return err
	}
	if err := checkFiles(c.Devices); err != nil {
		return err
	}
	if o.report != "" && o.report != "-" { // before the fleet has run for it
		f, err := os.OpenFile(o.report, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return fmt.Errorf("--report: %w", err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return p.runFleet(ctx, c, o.report)
}

func (p *program) runFleet(ctx context.Context, c fleet.Config, file string) error {
	if bar := newBar(p.err); bar != nil {
		c.Progress = bar
	}
	rep, err := fleet.Run(ctx, c)
	if err != nil {
		return err
	}
	if file != "" {
		raw, err := json.MarshalIndent(rep, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the report: %w", err)
		}
		if file == "-" {
			_, err = p.out.Write(append(raw, '\n'))
		} else {
			err = os.WriteFile(file, append(raw, '\n'), 0o644)
		}
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if file != "-" {
		summarize(p.out, rep)
	}
	return verdict(rep)
}

// why is the kind of failure, if all were of one kind.
func why(r *fleet.Report) error {
	switch kinds := slices.Sorted(maps.Keys(r.Failures)); {
	case len(kinds) == 1 && kinds[0] == fleet.FailedCertificate:
		return errRoot
	case len(kinds) > 0 && !slices.ContainsFunc(kinds, func(k string) bool { return k != fleet.FailedNetwork && k != fleet.FailedConnection }):
		return errReach
	}
	return errFleet
}

// verdict is an error unless all is well.
func verdict(r *fleet.Report) error {
	switch {
	case r.OK():
		return nil
	case r.Ended != "":
		return fmt.Errorf("%w: %s with %d of %d devices unauthenticated", why(r), r.Ended, r.Unauthenticated, r.Devices)
	case r.Breaches > 0:
		return fmt.Errorf("%w: %d grants came of exchanges that were tampered with", errFleet, r.Breaches)
	case r.WithoutTime > 0:
		return fmt.Errorf("%w: %d grants left a device without the time", errFleet, r.WithoutTime)
	}
	return fmt.Errorf("%w: %d of %d devices are out for no injected reason; %s: %s", why(r), r.Unexplained, r.Devices, r.LeftOut[0].Name, r.LeftOut[0].Reason)
}

func (p *program) reportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "report FILE", Short: "Print a report that run has written", Example: "  firmware-sim report report.json", Args: p.arguments,
		RunE: func(_ *cobra.Command, args []string) error { return p.report(args[0]) },
	}
}

func (p *program) report(file string) error {
	raw, err := readFile(file, maxReport)
	if err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	rep, err := fleet.ParseReport(raw)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	summarize(p.out, rep)
	return nil
}

// config reads the flags.
func (o *runFlags) config() (c fleet.Config, err error) {
	switch {
	case o.broker == "":
		return c, exit.Usagef("run needs --broker or %s", environ.Broker)
	case o.devices < 1 || o.devices > fleet.MaxDevices:
		return c, exit.Usagef("--devices %d, want 1 to %d", o.devices, fleet.MaxDevices)
	case o.concurrency < 1:
		return c, exit.Usagef("--concurrency %d, want at least 1", o.concurrency)
	case o.timeout <= 0:
		return c, exit.Usagef("--timeout %v, want more than nothing", o.timeout)
	}
	c = fleet.Config{Devices: o.devices, Concurrency: o.concurrency, Prefix: o.prefix}
	if c.Pool, err = ident.ParsePool(o.pool); err != nil {
		return c, exit.Usagef("--pool: %w", err)
	}
	if c.Prefix == "" {
		c.Prefix = "sim-" + strings.ToLower(rand.Text()[:4])
	}
	if _, err := ident.ParseName(fmt.Sprintf("%s-%07d", c.Prefix, o.devices)); err != nil {
		return c, exit.Usagef("--prefix: %w", err)
	}
	if c.Keys, err = o.keys(); err != nil {
		return c, err
	}
	if c.Faults, err = o.source(); err != nil {
		return c, err
	}
	if c.Scenario, err = o.steps(); err != nil {
		return c, err
	}
	if c.Voucher, err = o.admission(); err != nil {
		return c, err
	}
	c.Dial, err = o.dial()
	return c, err
}

func (o *runFlags) keys() ([]firmware.Kind, error) {
	switch o.key {
	case "mixed":
		return []firmware.Kind{firmware.P256, firmware.Ed25519}, nil
	case string(firmware.P256), string(firmware.Ed25519):
		return []firmware.Kind{firmware.Kind(o.key)}, nil
	}
	return nil, exit.Usagef("--key %q, want p256, ed25519 or mixed", o.key)
}

func (o *runFlags) source() (fault.Source, error) {
	src := fault.Source{Seed: o.seed}
	if o.faults == "off" {
		return src, nil
	}
	rate, err := strconv.ParseFloat(o.faults, 64)
	if err != nil || !(rate >= 0 && rate <= 1) {
		return src, exit.Usagef("--faults %q, want a share from 0 to 1, or off", o.faults)
	}
	src.Rate = rate
	return src, nil
}

func (o *runFlags) steps() (fleet.Scenario, error) {
	var s fleet.Scenario
	var err error
	switch o.scenario {
	case string(fleet.Steady):
		if o.rate == 0 {
			o.rate = usualRate
		}
		s, err = fleet.Builtin(fleet.Steady, o.rate, o.authentications)
	case string(fleet.Storm):
		s, err = fleet.Builtin(fleet.Storm, o.rate, o.authentications)
	default:
		return o.scenarioFile()
	}
	if err != nil {
		return s, exit.Usagef("%w", err)
	}
	return s, nil
}

func (o *runFlags) scenarioFile() (fleet.Scenario, error) {
	if o.rate != 0 || o.authentications != 1 {
		return fleet.Scenario{}, exit.Usagef("--rate and --authentications are for steady and storm; the scenario file has its own")
	}
	raw, err := readFile(o.scenario, maxFile)
	if err != nil {
		return fleet.Scenario{}, fmt.Errorf("--scenario: neither steady nor storm: %w", err)
	}
	s, err := fleet.ParseScenario(raw)
	if err != nil {
		return s, fmt.Errorf("read %s: %w", o.scenario, err)
	}
	if o.faults == "off" {
		s.Faults = nil
	}
	return s, nil
}

func (o *runFlags) admission() (agent.Admission, error) {
	text := o.token
	if path, ok := strings.CutPrefix(text, "@"); ok {
		raw, err := readFile(path, maxFile)
		if err != nil {
			return agent.Admission{}, fmt.Errorf("read the enrollment token: %w", err)
		}
		text = string(raw)
	}
	if text == "" {
		return agent.Admission{}, exit.Usagef("run needs --token: the devices have new keys, which the broker does not know")
	}
	t, err := protocol.ParseEnrollToken(text)
	if err != nil {
		return agent.Admission{}, fmt.Errorf("--token: %w", err)
	}
	return agent.Admission{Token: &t}, nil
}

// dial connects as devices do: certificates are judged by what the device knows of
// the time, never by its clock.
func (o *runFlags) dial() (firmware.Dial, error) {
	roots, err := readRoots(o.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	return func(a *agent.Agent) agent.Dialer {
		return func(ctx context.Context, cred *agent.Credential) (agent.Connection, error) {
			l, err := mqttlink.Dial(ctx, mqttlink.Options{Broker: o.broker, Trust: mqttlink.Trust{Roots: roots, Floor: a.Floor}, Credential: cred})
			if err != nil {
				return nil, err // not a nil *Link in a Connection
			}
			return l, nil
		}
	}, nil
}

// readRoots reads certificates; none without a path, and the system's roots decide.
func readRoots(path string) ([]*x509.Certificate, error) {
	if path == "" {
		return nil, nil
	}
	rest, err := readFile(path, maxFile)
	if err != nil {
		return nil, err
	}
	var roots []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		roots = append(roots, cert)
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("%s: no certificate in it, want PEM", path)
	}
	return roots, nil
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes, at most %d", path, st.Size(), limit)
	}
	return textfile.Read(path)
}

// checkFiles tells early that the devices' connections would not all fit.
func checkFiles(devices int) error {
	allowed, err := openFiles()
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask for the limit on open files: %w", err)
	}
	if need := uint64(devices) + spareFiles; allowed < need {
		return fmt.Errorf("%w: %d devices need %d, the limit is %d", errNoFiles, devices, need, allowed)
	}
	return nil
}

// spareFiles is what the program opens besides its devices' connections.
const spareFiles = 64
