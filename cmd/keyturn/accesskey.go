package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/keyturnapi"
)

func newAccessKeyCommand(a *app) *cobra.Command {
	return newGroup("access-key", "Make, list, disable and delete access keys of a keyturn server",
		newAccessKeyCreateCommand(a), newAccessKeyListCommand(a),
		newAccessKeyStatusCommand(a, "disable", keyturnapi.StatusInactive, "Disable an access key, at once"),
		newAccessKeyStatusCommand(a, "enable", keyturnapi.StatusActive, "Enable an access key that was disabled"),
		newAccessKeyDeleteCommand(a))
}

// keyturn makes the client of what a keyturn server answers beyond AWS.
func (a *app) keyturn(ctx context.Context) (*keyturnapi.Client, error) {
	cfg, err := a.awsConfig(ctx)
	if err != nil {
		return nil, err
	}
	return keyturnapi.New(cfg), nil
}

type accessKeyListFlags struct {
	account, user string
	all           bool
}

func newAccessKeyListCommand(a *app) *cobra.Command {
	var flags accessKeyListFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the access keys of an account",
		Long: `List the access keys of an account, your own unless said otherwise: as a table on
a terminal, as one id a line in a pipe, or with their policies with -o json.`,
		Example: `  keyturn access-key list
  keyturn access-key list --account 111122223333 --user app
  keyturn access-key list --all-accounts -o table`,
		Args:              positional(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := a.listAccessKeys(cmd.Context(), flags)
			if err != nil {
				return err
			}
			return a.writeAccessKeys(keys)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.account, "account", "", "account of 12 digits (your own)")
	f.StringVar(&flags.user, "user", "", "user whose keys are listed (all)")
	f.BoolVar(&flags.all, "all-accounts", false, "list the keys of every account")
	return cmd
}

func (a *app) listAccessKeys(ctx context.Context, flags accessKeyListFlags) ([]keyturnapi.AccessKey, error) {
	if flags.all && flags.account != "" {
		return nil, usagef("--all-accounts leaves no --account")
	}
	client, err := a.keyturn(ctx)
	if err != nil {
		return nil, err
	}
	in := &keyturnapi.ListAccessKeysInput{AccountID: flags.account, UserName: flags.user}
	if flags.all {
		in.AccountID = keyturnapi.AllAccounts
	}
	keys := []keyturnapi.AccessKey{}
	for {
		page, err := client.ListAccessKeys(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("listing the access keys: %w", err)
		}
		keys = append(keys, page.AccessKeys...)
		if !page.IsTruncated {
			return keys, nil
		}
		in.Marker = page.Marker
	}
}

func (a *app) writeAccessKeys(keys []keyturnapi.AccessKey) error {
	switch {
	case a.flags.output == outputJSON:
		return a.writeJSON(struct{ AccessKeys []keyturnapi.AccessKey }{keys})
	case a.flags.output == outputTable, a.flags.output == "" && isTerminal(a.stdout):
		return a.writeAccessKeyTable(keys)
	}
	for i := range keys {
		if err := a.println(keys[i].AccessKeyID); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) writeAccessKeyTable(keys []keyturnapi.AccessKey) error {
	rows := [][]string{{"ACCESS KEY", "ACCOUNT", "USER", "STATUS", "CREATED", "LAST USED", "FOR", "EXPIRES"}}
	for i := range keys {
		k := &keys[i]
		used, service := "never", ""
		if u := k.AccessKeyLastUsed; u != nil {
			used, service = a.when(&u.LastUsedDate), u.ServiceName+" in "+u.Region
		}
		rows = append(rows, []string{k.AccessKeyID, k.AccountID, k.UserName, k.Status, a.when(&k.CreateDate), used, service, a.when(k.Expiration)})
	}
	return a.writeTable(rows)
}

// changedAccessKey is what -o json tells where the server answers nothing.
type changedAccessKey struct {
	AccessKeyID string `json:"AccessKeyId"`
	Status      string // empty: it is deleted
}

func newAccessKeyStatusCommand(a *app, use, status, short string) *cobra.Command {
	return &cobra.Command{
		Use:               use + " ID",
		Short:             short,
		Example:           "  keyturn access-key " + use + " AKIAIOSFODNN7EXAMPLE",
		Args:              positional("ID"),
		ValidArgsFunction: offer(1, a.accessKeyIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.keyturn(cmd.Context())
			if err != nil {
				return err
			}
			_, err = client.UpdateAccessKey(cmd.Context(), &keyturnapi.UpdateAccessKeyInput{AccessKeyID: args[0], Status: status})
			if err != nil {
				return fmt.Errorf("changing the access key: %w", err)
			}
			if a.flags.output == outputJSON {
				return a.writeJSON(changedAccessKey{AccessKeyID: args[0], Status: status})
			}
			return a.println(use+"d", args[0])
		},
	}
}

func newAccessKeyDeleteCommand(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete ID",
		Short: "Delete an access key for good, at once",
		Long: `Delete an access key for good, at once; on a terminal that is asked about first.
"keyturn access-key disable" does it in a way that can be taken back.`,
		Example:           `  keyturn access-key delete AKIAIOSFODNN7EXAMPLE --yes`,
		Args:              positional("ID"),
		ValidArgsFunction: offer(1, a.accessKeyIDs),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.deleteAccessKey(cmd.Context(), args[0], yes) },
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) deleteAccessKey(ctx context.Context, id string, yes bool) error {
	client, err := a.keyturn(ctx)
	if err != nil {
		return err
	}
	if !yes {
		ok, err := a.confirm(ctx, fmt.Sprintf("Delete access key %s for good?", id))
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("nothing was deleted")
		}
	}
	if _, err := client.DeleteAccessKey(ctx, &keyturnapi.DeleteAccessKeyInput{AccessKeyID: id}); err != nil {
		return fmt.Errorf("deleting the access key: %w", err)
	}
	if a.flags.output == outputJSON {
		return a.writeJSON(changedAccessKey{AccessKeyID: id})
	}
	return a.println("deleted", id)
}
