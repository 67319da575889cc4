package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/keyturnapi"
)

func newKeyCommand(a *app) *cobra.Command {
	cmd := newGroup("key", "List, create, rotate and retire the server's encryption keys",
		newKeyListCommand(a), newKeyCreateCommand(a), newKeyRotateCommand(a), newKeyRetireCommand(a))
	cmd.Long = `The encryption keys of a keyturn server: what a secret's KmsKeyId names. Only
principals of the operators' account, 000000000000, may manage them.

A key has one or more key materials. The newest one wraps the data keys of new
values; older ones open what they sealed, until the server has re-wrapped that
with the newest and they are retired.`
	return cmd
}

func newKeyListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the keys and their materials",
		Long: `List the server's keys, each with its materials, the newest first. LEFT is how
many values are still to be re-wrapped before an older material can be retired.`,
		Example: `  keyturn key list
  keyturn key list -o json`,
		Args: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.keyturn(cmd.Context())
			if err != nil {
				return err
			}
			out, err := client.ListKeys(cmd.Context(), &keyturnapi.ListKeysInput{})
			if err != nil {
				return fmt.Errorf("listing the keys: %w", err)
			}
			if a.flags.output == outputJSON {
				return a.writeJSON(out)
			}
			return a.writeKeys(out.Keys)
		},
	}
}

func (a *app) writeKeys(keys []keyturnapi.Key) error {
	rows := [][]string{{"KEY", "ALIAS", "MATERIAL", "STATE", "CREATED", "LEFT"}}
	for _, k := range keys {
		id, alias := k.KeyID, k.AliasName
		if k.Default {
			alias = strings.TrimSpace(alias + " (default)")
		}
		for i := range k.KeyMaterials {
			m := &k.KeyMaterials[i]
			rows = append(rows, []string{id, alias, m.KeyMaterialID, strings.ToLower(m.KeyMaterialState), orDash(a.when(m.CreationDate)), leftText(m)})
			id, alias = `"`, ""
		}
	}
	return a.writeTable(rows)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func leftText(m *keyturnapi.KeyMaterial) string {
	switch {
	case m.KeyMaterialState == keyturnapi.MaterialCurrent:
		return ""
	case m.ValuesLeft == nil:
		return "counting"
	}
	return fmt.Sprint(*m.ValuesLeft)
}

type createKeyFlags struct {
	alias, awsKMS string
	offline       offlineFlags
}

func newKeyCreateCommand(a *app) *cobra.Command {
	var flags createKeyFlags
	cmd := &cobra.Command{
		Use:   "create --alias NAME",
		Short: "Create a key",
		Long: `Create a key that a secret's KmsKeyId may name as alias/NAME. Its material is new
and in the server's key file, or is a key in AWS KMS (--aws-kms), which the
server then uses with AWS credentials of its own.

With --key-file a key file is changed that no server is using; a missing one is
made, with a default key.`,
		Example: `  keyturn key create --alias payments
  keyturn key create --alias payments --aws-kms arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
  keyturn key create --key-file new.key`,
		Args:              positional(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.offline.file != "" {
				return a.createKeyOffline(cmd.Context(), flags)
			}
			return a.createKey(cmd.Context(), flags)
		},
	}
	cmd.Flags().StringVar(&flags.alias, "alias", "", "alias of the key, with or without alias/")
	cmd.Flags().StringVar(&flags.awsKMS, "aws-kms", "", "ARN of a key in AWS KMS")
	flags.offline.add(cmd)
	return cmd
}

func (a *app) createKey(ctx context.Context, flags createKeyFlags) error {
	if flags.alias == "" {
		return usagef("--alias is missing")
	}
	client, err := a.keyturn(ctx)
	if err != nil {
		return err
	}
	out, err := client.CreateKey(ctx, &keyturnapi.CreateKeyInput{AliasName: flags.alias, AWSKMSKeyARN: flags.awsKMS})
	if err != nil {
		return fmt.Errorf("creating the key: %w", err)
	}
	if a.flags.output == outputJSON {
		return a.writeJSON(out)
	}
	return a.println("created", out.Key.AliasName, "as key", out.Key.KeyID)
}

type rotateKeyFlags struct {
	awsKMS      string
	local, wait bool
	offline     offlineFlags
}

func newKeyRotateCommand(a *app) *cobra.Command {
	var flags rotateKeyFlags
	cmd := &cobra.Command{
		Use:   "rotate [KEY]",
		Short: "Give a key new material",
		Long: `Give a key new material: the key with the id or alias KEY, or the default key.
New values are sealed with it at once. What older material sealed is re-wrapped
by the server in the background: only the wrapped data keys change. That goes on
after a restart; "keyturn key list" shows how many values are left.

With --aws-kms the new material is a key in AWS KMS. Material in AWS KMS is
rotated by AWS; --local takes the key out of AWS KMS again.`,
		Example: `  keyturn key rotate --wait
  keyturn key rotate alias/payments
  keyturn key rotate --aws-kms arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab`,
		Args:              atMostOne("KEY"),
		ValidArgsFunction: offer(1, a.keyNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.local && flags.awsKMS != "" {
				return usagef("--local and --aws-kms do not go together")
			}
			if flags.offline.file != "" {
				return a.rotateKeyOffline(cmd.Context(), strings.Join(args, ""), flags)
			}
			return a.rotateKey(cmd.Context(), strings.Join(args, ""), flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.awsKMS, "aws-kms", "", "ARN of a key in AWS KMS")
	f.BoolVar(&flags.local, "local", false, "put local material in the place of a key in AWS KMS")
	f.BoolVar(&flags.wait, "wait", false, "wait until everything is re-wrapped, and show the progress")
	flags.offline.add(cmd)
	return cmd
}

func atMostOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return positional(name)(cmd, args)
	}
}

func (a *app) rotateKey(ctx context.Context, id string, flags rotateKeyFlags) error {
	client, err := a.keyturn(ctx)
	if err != nil {
		return err
	}
	out, err := client.RotateKey(ctx, &keyturnapi.RotateKeyInput{KeyID: id, AWSKMSKeyARN: flags.awsKMS, Local: flags.local})
	if err != nil {
		return fmt.Errorf("rotating the key: %w", err)
	}
	if flags.wait {
		if out.Key, err = a.awaitRewrap(ctx, client, out.Key.KeyID); err != nil {
			return err
		}
	}
	if a.flags.output == outputJSON {
		return a.writeJSON(out)
	}
	if err := a.println("new values are sealed with", out.Key.KeyMaterials[0].KeyMaterialID); err != nil || !flags.wait {
		return err
	}
	return a.println("everything else is re-wrapped")
}

// rewrapPoll is how often the progress is asked for.
const rewrapPoll = 250 * time.Millisecond

func (a *app) awaitRewrap(ctx context.Context, client *keyturnapi.Client, id string) (keyturnapi.Key, error) {
	shown := int64(0)
	for {
		out, err := client.ListKeys(ctx, &keyturnapi.ListKeysInput{})
		if err != nil {
			return keyturnapi.Key{}, fmt.Errorf("listing the keys: %w", err)
		}
		k := keyByID(out.Keys, id)
		if k.Rewrapped() {
			return k, nil
		}
		if left := valuesLeft(k); left > 0 && left != shown {
			fmt.Fprintf(a.stderr, "%d values are left to re-wrap\n", left)
			shown = left
		}
		if err := sleep(ctx, rewrapPoll); err != nil {
			return k, guided{err: err, hint: "The server goes on re-wrapping: \"keyturn key list\" shows what is left."}
		}
	}
}

func keyByID(keys []keyturnapi.Key, id string) keyturnapi.Key {
	for _, k := range keys {
		if k.KeyID == id {
			return k
		}
	}
	return keyturnapi.Key{}
}

func valuesLeft(k keyturnapi.Key) (n int64) {
	for _, m := range k.KeyMaterials {
		n += aws.ToInt64(m.ValuesLeft)
	}
	return n
}

func newKeyRetireCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "retire MATERIAL",
		Short: "Take old key material out of the key file",
		Long: `Take old key material out of the server's key file, where no value needs it any
more. It is refused for the newest material of a key, and as long as something
is to be re-wrapped.

A backup of the database from before then needs a copy of the key file from
before then.`,
		Example: `  keyturn key retire 41a0c7d09be3f5c2`,
		Args:    positional("MATERIAL"),

		ValidArgsFunction: offer(1, a.oldMaterials),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.keyturn(cmd.Context())
			if err != nil {
				return err
			}
			out, err := client.RetireKey(cmd.Context(), &keyturnapi.RetireKeyInput{KeyMaterialID: args[0]})
			if err != nil {
				return fmt.Errorf("retiring the key material: %w", err)
			}
			if a.flags.output == outputJSON {
				return a.writeJSON(out)
			}
			return a.println("retired", args[0])
		},
	}
}
