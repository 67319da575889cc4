package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/envelope"
)

// offlineFlags change a key file without a server.
type offlineFlags struct {
	file       string
	passphrase passphraseFlags
}

func (o *offlineFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.file, "key-file", "", "change this key file, which no server may be using, instead of asking a server")
	_ = cmd.MarkFlagFilename("key-file")
	o.passphrase.add(cmd)
}

// open opens the key file for a change.
func (a *app) openKeyFile(ctx context.Context, o offlineFlags) (*envelope.Keyring, error) {
	passphrase, err := a.keyPassphrase(ctx, o.passphrase)
	if err != nil {
		return nil, err
	}
	source := envelope.Source{Path: o.file, Passphrase: envelope.Passphrase(passphrase), Now: a.now,
		AWS: func(ctx context.Context) (aws.Config, error) { return config.LoadDefaultConfig(ctx) }}
	keys, err := envelope.Open(ctx, source)
	if errors.Is(err, envelope.ErrPassphrase) && passphrase == "" {
		return nil, guided{err: err, hint: "Name a file that holds it with --key-passphrase-file, or --key-passphrase to be asked for it."}
	}
	return keys, err
}

func (a *app) createKeyOffline(ctx context.Context, flags createKeyFlags) error {
	_, missing := os.Stat(flags.offline.file)
	isNew := errors.Is(missing, fs.ErrNotExist)
	if flags.alias == "" && !isNew {
		return usagef("--alias is missing")
	}
	keys, err := a.openKeyFile(ctx, flags.offline)
	if err != nil {
		return err
	}
	asJSON := a.flags.output == outputJSON
	if isNew && !asJSON {
		if err := a.println("created", flags.offline.file, "with the default key", keys.Keys()[0].ID); err != nil {
			return err
		}
	}
	var made envelope.KeyInfo
	if flags.alias != "" {
		if made, err = keys.Create(ctx, strings.TrimPrefix(flags.alias, "alias/"), flags.awsKMS); err != nil {
			return err
		}
	}
	switch {
	case asJSON:
		return a.writeKeyFile(flags.offline.file, keys)
	case flags.alias != "":
		return a.println("created", "alias/"+made.Alias, "as key", made.ID)
	}
	return nil
}

// keyInFile is a key of a key file as -o json shows it.
type keyInFile struct {
	KeyID         string `json:"KeyId"`
	AliasName     string `json:",omitzero"`
	Default       bool   `json:",omitzero"`
	KeyMaterialID string `json:"KeyMaterialId"` // that seals new values
}

// writeKeyFile shows what a key file holds after a change, in JSON.
func (a *app) writeKeyFile(path string, keys *envelope.Keyring) error {
	file := struct {
		KeyFile string
		Keys    []keyInFile
	}{KeyFile: path}
	for _, k := range keys.Keys() {
		shown := keyInFile{KeyID: k.ID, Default: k.Default, KeyMaterialID: k.Materials[len(k.Materials)-1].ID}
		if k.Alias != "" {
			shown.AliasName = "alias/" + k.Alias
		}
		file.Keys = append(file.Keys, shown)
	}
	return a.writeJSON(file)
}

func (a *app) rotateKeyOffline(ctx context.Context, id string, flags rotateKeyFlags) error {
	if flags.wait {
		return usagef("--wait is for a server, and --key-file for a file that no server uses")
	}
	if _, err := os.Stat(flags.offline.file); err != nil {
		return fmt.Errorf("reading the key file: %w", err)
	}
	keys, err := a.openKeyFile(ctx, flags.offline)
	if err != nil {
		return err
	}
	old, err := keys.Key(id)
	if err != nil {
		return err
	}
	if old.Materials[len(old.Materials)-1].AWSKMS && flags.awsKMS == "" && !flags.local {
		return usagef("the key is in AWS KMS, which rotates its material itself; --local takes it out of there")
	}
	k, err := keys.Rotate(ctx, id, flags.awsKMS)
	if err != nil {
		return err
	}
	if a.flags.output == outputJSON {
		return a.writeKeyFile(flags.offline.file, keys)
	}
	return a.println("a server that is started with", flags.offline.file, "seals new values with", k.Materials[len(k.Materials)-1].ID)
}
