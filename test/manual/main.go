// Command manual writes the programs' manual pages, made of their commands as they are,
// into a folder: go run ./test/manual FOLDER.
//
// It is no part of any program, so that none carries a typesetter.
package main

import (
	"fmt"
	"os"

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
		section := "1"
		if program.Name() == "signetd" {
			section = "8" // what an administrator runs
		}
		header := &doc.GenManHeader{Section: section, Source: "Signet", Manual: "Signet Manual"}
		if err := doc.GenManTreeFromOpts(program, doc.GenManTreeOptions{Header: header, Path: folder, CommandSeparator: "-"}); err != nil {
			return fmt.Errorf("pages of %s: %w", program.Name(), err)
		}
	}
	return nil
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
