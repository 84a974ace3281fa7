package command

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/broker/backup"
	"github.com/signetd/signet/broker/boltstore"
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
			if errors.Is(err, atrest.ErrOpen) {
				return &nextError{fmt.Errorf("no backup was made: %s does not open the secrets in %s, so nothing could be restored of it", cfg.KeyPath(), cfg.StorePath()),
					"put back the key that belongs to the store, or say where it is with key_file or SIGNET_KEY_FILE; a signetd that runs has it still, until it ends"}
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(o.stdout, "wrote %s: keep it as safe as %s itself\n", args[0], cfg.Data)
			if b.KeyFile != "" {
				fmt.Fprintf(o.stdout, "%s is not in it and is needed to restore: keep a copy elsewhere\n", b.KeyFile)
			}
			if b.Unchecked != nil {
				fmt.Fprintln(o.stderr, "signetd: warning: whether that key opens the store's secrets was not looked at:", b.Unchecked)
			}
			o.warnOfCA(cfg)
			return nil
		})
}

func (o *options) restoreCommand() *cobra.Command {
	var inPlace bool
	var after uint64
	c := o.leaf("restore FILE", "Make a data folder of a backup; the folder is empty or not there yet",
		"signetd restore --data /var/lib/signet signet-2026-11-23.tar\nsignetd restore --data /var/lib/signet --in-place",
		func(ctx context.Context, args []string) error {
			cfg, err := o.config(config.Default())
			if err != nil {
				return err
			}
			if inPlace {
				return o.accept(ctx, cfg, after)
			}
			err = backup.Restore(ctx, cfg, args[0], after)
			switch {
			case errors.Is(err, backup.ErrBackup):
				return &nextError{err, "nothing was restored; try another backup"}
			case errors.Is(err, atrest.ErrOpen):
				return &nextError{fmt.Errorf("the key does not open the secrets of the store in %s: one of the two is of another folder", args[0]),
					"nothing was restored; if the key is kept apart from backups, say where the right one is with key_file or SIGNET_KEY_FILE, else try another backup"}
			case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
				return &nextError{err, "nothing was restored; make room where " + cfg.Data + " is, then try again"}
			}
			if err != nil {
				return err
			}
			o.warnOfCA(cfg)
			fmt.Fprintf(o.stdout, "restored %s\nstart it: signetd serve %s\n", cfg.Data, o.where(cfg))
			return nil
		})
	c.Long = "Makes a data folder of a backup; the folder is empty or not there yet. Or, with --in-place, takes the store\n" +
		"that lies in the data folder, although it is an older copy: it, or the whole folder, was put back by other means.\n\n" +
		"Either way the store begins a new epoch: devices take its keys, though they may know of newer ones."
	c.Flags().BoolVar(&inPlace, "in-place", false, "no backup: take the store that lies in the data folder")
	c.Flags().Uint64Var(&after, "epoch-after", 0, "begin an epoch above this `number`, which signetd's log names; without it the time decides")
	c.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case !inPlace:
			return arguments(cmd, args)
		case len(args) > 0:
			return fmt.Errorf("with --in-place there is no FILE: it takes the store that lies in the data folder. To restore %s, leave --in-place out and name an empty folder", args[0])
		}
		return nil
	}
	return c
}

// accept takes the store that lies in the data folder.
func (o *options) accept(ctx context.Context, cfg config.Config, after uint64) error {
	epoch, err := backup.Accept(ctx, cfg, after)
	if held, ok := errors.AsType[*boltstore.HeldError](err); ok {
		return &nextError{held, "stop signetd first"}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(o.stdout, "took the store in %s, now of epoch %d\nstart it: signetd serve %s\n", cfg.Data, epoch, o.where(cfg))
	return nil
}
