package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/listing"
	"github.com/signetd/signet/protocol/output"
)

func packetHeader() []string {
	return []string{"TIME", "CONNECTION", "FROM", "TYPE", "ID", "QOS", "FLAGS", "TOPIC", "SIZE", "LENGTH", "CODES", "PROPERTIES", "PAYLOAD", "WRONG", "LOST"}
}

func packetRow(p adminapi.TracedPacket) []string {
	number := func(n *int) string {
		if n == nil {
			return ""
		}
		return strconv.Itoa(*n)
	}
	var flags []string
	if p.Dup {
		flags = append(flags, "dup")
	}
	if p.Retain {
		flags = append(flags, "retain")
	}
	topic, id, size, lost := p.Topic, "", "", ""
	if len(p.Filters) > 0 {
		topic = strings.Join(p.Filters, ",")
	}
	if p.ID > 0 {
		id = strconv.Itoa(p.ID)
	}
	if p.Size > 0 {
		size = strconv.Itoa(p.Size)
	}
	if p.Lost > 0 {
		lost = strconv.FormatUint(p.Lost, 10)
	}
	return []string{
		p.Time.UTC().Format("15:04:05.000"), p.Connection, p.From, p.Type, id, number(p.QoS), strings.Join(flags, ","), topic, size, number(p.Length),
		strings.Join(p.Codes, ","), strings.Join(p.Properties, ","), string(p.Payload), p.Wrong, lost,
	}
}

// packetLine writes a packet for a person: what it has, and no more.
func packetLine(p adminapi.TracedPacket) string {
	arrow := "->"
	if p.From == "broker" {
		arrow = "<-"
	}
	out := []string{p.Time.UTC().Format("15:04:05.000"), p.Connection, arrow, p.Type}
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if p.ID > 0 {
		add("#%d", p.ID)
	}
	if p.QoS != nil {
		add("q%d", *p.QoS)
	}
	if p.Dup {
		add("dup")
	}
	if p.Retain {
		add("retain")
	}
	for _, text := range append([]string{p.Topic}, p.Filters...) {
		if text != "" {
			add("%s", text)
		}
	}
	if p.Type == "CONNECT" {
		add("client id %q", p.ClientID)
	}
	for _, c := range p.Codes {
		add("%s", c)
	}
	if len(p.Properties) > 0 {
		add("[%s]", strings.Join(p.Properties, ", "))
	}
	if p.Size > 0 {
		add("%d B", p.Size)
	}
	if p.Length != nil {
		add("payload %d B", *p.Length)
	}
	if p.Payload != nil {
		add("%q", p.Payload)
	}
	if p.Wrong != "" {
		add("wrong: %s", p.Wrong)
	}
	return strings.Join(out, " ")
}

func (a *app) traceDevice() *cobra.Command {
	var query adminapi.TraceQuery
	cmd := a.leaf("trace DEVICE", "Follow the MQTT packets of a device for a while",
		"signet connection trace lamp-1 --pool demo\nsignet connection trace lamp-1 --pool demo --for 5m -o json\nsignet connection trace lamp-1 --pool demo --payload --reason 'ticket 7'",
		func(cmd *cobra.Command, args []string) error {
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			if a.format == "csv" {
				if err := listing.CSV(a.Out, packetHeader()); err != nil {
					return err
				}
			}
			if a.format == "table" {
				a.note("packets of %s:%s%s, -> from the device, <- to it", a.pool, args[0], a.on())
			}
			shown := 0
			err = p.Trace(cmd.Context(), args[0], query, func(line adminapi.TracedPacket) error {
				if line.Type != "end" {
					shown++
				}
				return a.packet(line)
			})
			if err == nil && a.format == "table" {
				a.note("the time is over: %s", counted(shown, "packet"))
			}
			return err
		})
	cmd.Long = "Follows the MQTT packets of a device's connections to the broker that is asked, both ways, a line each (-o json: one\n" +
		"JSON object each), for a minute or as --for says, at most 10m. Packets that come too fast are left out and counted.\n\n" +
		"It shows types, topics, identifiers, sizes, reason codes and the names of properties. What messages carry is shown with\n" +
		"--payload alone, which needs the scope admin and is logged as a warning; passwords and messages of the protocol's own\n" +
		"topics never are. Who traced whom is in signet audit list --kind connection."
	cmd.Flags().Var(&query.For, "for", "for how long, at most 10m")
	cmd.Flags().Lookup("for").DefValue = "60s"
	cmd.Flags().BoolVar(&query.Payload, "payload", false, "show the payloads of messages, up to 4 KiB of each")
	complete(cmd, "for", cobra.NoFileCompletions)
	cmd.ValidArgsFunction = deviceShelf().completion(a)
	return cmd
}

// packet prints one line of a trace.
func (a *app) packet(p adminapi.TracedPacket) error {
	switch a.format {
	case "json":
		return json.NewEncoder(a.Out).Encode(p)
	case "csv":
		return listing.CSV(a.Out, packetRow(p))
	case "yaml":
		if _, err := fmt.Fprintln(a.Out, "---"); err != nil {
			return err
		}
		return a.show(p, nil, nil)
	}
	if p.Lost > 0 {
		a.note("%s left out before this: they came too fast", counted(int(p.Lost), "packet"))
	}
	if p.Type == "end" {
		return nil
	}
	_, err := fmt.Fprintln(a.Out, output.Cell(packetLine(p)))
	return err
}
