package main

import (
	"fmt"

	"github.com/spf13/cobra"

	broker "github.com/signetd/signet/broker/daemon"
)

func (o *options) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Copy everything, while signetd runs or not", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.config()
			if err != nil {
				return err
			}
			if err := broker.Backup(cmd.Context(), cfg, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(o.stdout, "wrote %s: keep it as safe as %s itself\n", args[0], cfg.Data)
			return nil
		},
	}
}

func (o *options) restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restore FILE", Short: "Make a data folder from a backup; the folder must not exist", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.config()
			if err != nil {
				return err
			}
			if err := broker.Restore(cmd.Context(), cfg, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(o.stdout, "restored %s\n", cfg.Data)
			return nil
		},
	}
}
