package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/backup"
	"github.com/signetd/signet/broker/config"
)

func (o *options) backupCommand() *cobra.Command {
	return o.leaf("backup FILE", "Copy everything into one new file, while signetd runs or not",
		"signetd backup --data /var/lib/signet signet-$(date +%F).tar", func(ctx context.Context, args []string) error {
			cfg, err := o.config(config.Default())
			if err != nil {
				return err
			}
			b, err := backup.Write(ctx, cfg, args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(o.stdout, "wrote %s: keep it as safe as %s itself\n", args[0], cfg.Data)
			if b.KeyFile != "" {
				fmt.Fprintf(o.stdout, "%s is not in it and is needed to restore: keep a copy elsewhere\n", b.KeyFile)
			}
			return nil
		})
}

func (o *options) restoreCommand() *cobra.Command {
	return o.leaf("restore FILE", "Make a data folder of a backup; the folder is empty or not there yet",
		"signetd restore --data /var/lib/signet signet-2026-11-23.tar", func(ctx context.Context, args []string) error {
			cfg, err := o.config(config.Default())
			if err != nil {
				return err
			}
			err = backup.Restore(ctx, cfg, args[0])
			if errors.Is(err, backup.ErrBackup) {
				return &nextError{err, "nothing was restored; try another backup"}
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(o.stdout, "restored %s\nstart it: signetd serve %s\n", cfg.Data, o.where(cfg))
			return nil
		})
}
