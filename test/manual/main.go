// Command manual writes the programs' manual pages, made of their commands as they are,
// into a folder: go run ./test/manual FOLDER.
//
// It is no part of any program, so that none carries a typesetter.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	signet "github.com/signetd/signet/broker/cmd/signet/cli"
	signetd "github.com/signetd/signet/broker/cmd/signetd/command"
	firmwaresim "github.com/signetd/signet/firmware-sim/command"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./test/manual FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// write makes one page for each command. They are dated by SOURCE_DATE_EPOCH, or today.
func write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	for _, program := range programs() {
		if err := writePages(program, folder); err != nil {
			return fmt.Errorf("pages of %s: %w", program.Name(), err)
		}
	}
	return nil
}

// writePages writes the page of a command and those of all below it.
func writePages(c *cobra.Command, folder string) error {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			if err := writePages(sub, folder); err != nil {
				return err
			}
		}
	}
	part := section(c.Root().Name())
	header := &doc.GenManHeader{
		Section: part, Source: "Signet", Manual: "Signet Manual", Title: strings.ToUpper(strings.ReplaceAll(c.CommandPath(), " ", `\-`)),
	}
	var page bytes.Buffer
	if err := doc.GenMan(c, header, &page); err != nil {
		return err
	}
	name := strings.ReplaceAll(c.CommandPath(), " ", "-") + "." + part
	return os.WriteFile(filepath.Join(folder, name), []byte(complete(dated(page.String(), header), c)), 0o644)
}

// dated writes the day of a page as mandoc reads it; the library has the month only.
func dated(page string, header *doc.GenManHeader) string {
	return strings.Replace(page, header.Date.Format(`"Jan 2006"`), header.Date.UTC().Format(`"2006-01-02"`), 1)
}

// programs are those whose commands are known as such, without the line that says what
// made a page and when.
func programs() []*cobra.Command {
	all := []*cobra.Command{signet.Command(), signetd.Command(), firmwaresim.Command(), signetAgent()}
	for _, program := range all {
		program.DisableAutoGenTag = true
		program.InitDefaultCompletionCmd()
	}
	return all
}
