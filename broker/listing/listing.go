// Package listing prints what was asked for in the form that was asked for: a table for
// people, JSON and YAML for programs, CSV for spreadsheets.
package listing

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"

	"github.com/signetd/signet/protocol/output"
)

// Formats are the names of the forms, the usual one first.
func Formats() []string { return []string{"table", "json", "yaml", "csv"} }

// Show prints v as JSON or YAML, or else its rows below header.
func Show(w io.Writer, format string, v any, header []string, rows ...[]string) error {
	switch format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		out, err := yaml.JSONToYAML(raw)
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		_, err = w.Write(out)
		return err
	case "csv":
		for _, row := range append([][]string{header}, rows...) {
			if err := CSV(w, row); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = cell(c)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// Detail is Show for all there is to see of one thing: as a table, a line for each.
func Detail(w io.Writer, format string, v any, header, row []string) error {
	if format != "table" {
		return Show(w, format, v, header, row)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, name := range header {
		fmt.Fprintf(t, "%s\t%s\n", name, cell(row[i]))
	}
	return t.Flush()
}

// cell is what a table shows of a value: nothing raw, and a dash for nothing.
func cell(s string) string {
	if s == "" {
		return "-"
	}
	return output.Cell(s)
}

// CSV prints one line of CSV (RFC 4180).
func CSV(to io.Writer, row []string) error {
	cells := make([]string, len(row))
	for i, c := range row {
		cells[i] = noFormula(c)
	}
	w := csv.NewWriter(to)
	w.Write(cells)
	w.Flush()
	return w.Error()
}

// noFormula keeps a cell of CSV from being a formula where a spreadsheet opens it: an
// apostrophe before it says that it is text.
func noFormula(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
