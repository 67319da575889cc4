package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturnapi"
)

type accessKeyFlags struct {
	account, user   string
	policies        []string // files
	administrator   bool
	noPolicy        bool
	duration        time.Duration
	writesProfile   bool   // --write-profile is given: a name that is empty is refused, and no key shown
	profile         string // to write
	credentialsFile string
	data            string // folder of a stopped server
	keys            keyFlags
}

func newAccessKeyCreateCommand(a *app) *cobra.Command {
	var flags accessKeyFlags
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an access key for a user of an account",
		Long: `Make an access key for a user of an account, who may do what the key's identity
policies allow. Accounts and users need not be made first.

The secret access key is shown this once, as a profile of an AWS credentials
file. With --write-profile it goes into such a file instead, which only you may
read, and past the terminal.

If every administrator's key is lost, stop the server and make one with --data,
and with the flags for the key file with which the server is started.`,
		Example: `  keyturn access-key create --account 111122223333 --user app --policy read-prod.json --write-profile app
  keyturn access-key create --user ops --administrator
  keyturn access-key create --user ci --policy deploy.json --session-duration 1h -o json
  keyturn access-key create --user admin --administrator --data /var/lib/keyturn`,
		Args:              positional(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags.writesProfile = cmd.Flags().Changed("write-profile")
			return a.createAccessKey(cmd.Context(), flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.account, "account", "", "account of 12 digits (your own)")
	f.StringVar(&flags.user, "user", "", "name of the user: requests come from arn:aws:iam::ACCOUNT:user/NAME")
	f.StringArrayVar(&flags.policies, "policy", nil, "file with an identity policy (-: stdin); may be given several times")
	f.BoolVar(&flags.administrator, "administrator", false, "attach the policy that allows everything")
	f.BoolVar(&flags.noPolicy, "no-policy", false, "attach none: only resource policies of secrets say what the user may do")
	f.DurationVar(&flags.duration, "session-duration", 0, "make a temporary key with a session token, for 15m to 36h")
	f.StringVar(&flags.profile, "write-profile", "", "write the key as this profile of the credentials file")
	f.StringVar(&flags.credentialsFile, "credentials-file", "", "file for --write-profile (AWS_SHARED_CREDENTIALS_FILE, ~/.aws/credentials)")
	f.StringVar(&flags.data, "data", "", "data folder of a stopped server, which needs no access key")
	flags.keys.add(cmd) // for --data
	_ = cmd.MarkFlagFilename("policy", "json")
	_ = cmd.MarkFlagFilename("credentials-file")
	_ = cmd.MarkFlagDirname("data")
	return cmd
}

func (f *accessKeyFlags) check() error {
	switch {
	case f.user == "":
		return usagef("--user is missing")
	case f.noPolicy && (f.administrator || len(f.policies) > 0):
		return usagef("--no-policy does not go with --policy or --administrator")
	case len(f.policies) == 0 && !f.administrator && !f.noPolicy:
		return usagef("name --policy FILE or --administrator; or --no-policy for a key that may do only what resource policies of secrets grant its user")
	case f.credentialsFile != "" && !f.writesProfile:
		return usagef("--credentials-file goes with --write-profile NAME")
	case f.duration%time.Second != 0 || f.duration < 0:
		return usagef("--session-duration is a time such as 1h, of whole seconds")
	}
	return nil
}

func (a *app) createAccessKey(ctx context.Context, flags accessKeyFlags) (err error) {
	if err := flags.check(); err != nil {
		return err
	}
	documents, err := a.readPolicies(flags)
	if err != nil {
		return err
	}
	var file *credentialsFile
	if flags.writesProfile {
		if file, err = openCredentialsFile(flags.credentialsFile, flags.profile); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.close()) }()
	}
	cfg, done, err := a.accessKeyMaker(ctx, flags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	return a.makeAccessKey(ctx, cfg, &keyturnapi.CreateAccessKeyInput{AccountID: flags.account, UserName: flags.user,
		PolicyDocuments: documents, DurationSeconds: int64(flags.duration / time.Second)}, file)
}

// makeAccessKey makes a key and writes it to the file, or shows it if that is nil. A
// key that nobody could learn of is deleted again.
func (a *app) makeAccessKey(ctx context.Context, cfg aws.Config, in *keyturnapi.CreateAccessKeyInput, file *credentialsFile) error {
	client := keyturnapi.New(cfg)
	out, err := client.CreateAccessKey(ctx, in)
	if err != nil {
		return fmt.Errorf("making an access key: %w", err)
	}
	if file == nil {
		err = a.writeNewAccessKey(out, cfg.Region)
	} else {
		err = file.add(profileText(file.profile, out, cfg.Region))
	}
	if err != nil {
		_, undo := client.DeleteAccessKey(ctx, &keyturnapi.DeleteAccessKeyInput{AccessKeyID: out.AccessKey.AccessKeyID})
		return errors.Join(err, undo)
	}
	if file == nil {
		return nil
	}
	return a.writeAccessKeyInFile(out, file)
}

func (a *app) readPolicies(flags accessKeyFlags) ([]string, error) {
	var documents []string
	if flags.administrator {
		documents = append(documents, keyturnapi.AdministratorPolicy)
	}
	for _, file := range flags.policies {
		text, err := a.readPolicy(file)
		if err != nil {
			return nil, fmt.Errorf("reading a policy: %w", err)
		}
		documents = append(documents, string(text))
	}
	return documents, nil
}

// readPolicy refuses what is too long to be sent: half a document would be malformed.
func (a *app) readPolicy(file string) ([]byte, error) {
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := readLimited(in)
	if err == nil && len(text) > maxValue {
		err = usagef("--policy: %s is longer than %d bytes", file, maxValue)
	}
	return text, err
}

// accessKeyMaker returns the settings of the server that makes the key: the usual
// ones, or those of a server that is opened for this alone.
func (a *app) accessKeyMaker(ctx context.Context, flags accessKeyFlags) (cfg aws.Config, done func() error, err error) {
	if flags.data == "" {
		cfg, err = a.awsConfig(ctx)
		return cfg, func() error { return nil }, err
	}
	if _, err := os.Stat(filepath.Join(flags.data, "keyturn.db")); err != nil {
		return cfg, nil, usagef("--data: there is no server's state in %s", flags.data)
	}
	keys, err := a.keys(ctx, flags.keys)
	if err != nil {
		return cfg, nil, err
	}
	server, err := a.openServer(ctx, keyturn.Config{Data: flags.data, Keys: keys, Log: slog.New(slog.DiscardHandler)})
	if errors.Is(err, keyturn.ErrInUse) {
		return cfg, nil, guided{err: err, hint: "While the server runs, leave out --data and use an administrator's key."}
	}
	if err != nil {
		return cfg, nil, err
	}
	return server.AWSConfig(), server.Close, nil
}

// writeNewAccessKey shows a key, with its secret. One that nobody has seen is there all the
// same.
func (a *app) writeNewAccessKey(out *keyturnapi.CreateAccessKeyOutput, region string) error {
	if err := a.showNewAccessKey(out, region); err != nil {
		return fmt.Errorf("showing the secret access key of %[1]s, which is made (\"keyturn access-key delete %[1]s\" deletes it): %[2]w", out.AccessKey.AccessKeyID, err)
	}
	return nil
}

func (a *app) showNewAccessKey(out *keyturnapi.CreateAccessKeyOutput, region string) error {
	if a.flags.output == outputJSON {
		return a.writeJSON(out)
	}
	fmt.Fprintln(a.stderr, "keyturn: note: the secret access key is shown this once; --write-profile NAME puts it into a credentials file instead")
	_, err := fmt.Fprint(a.stdout, profileText(out.AccessKey.UserName, out, region))
	return err
}

func (a *app) writeAccessKeyInFile(out *keyturnapi.CreateAccessKeyOutput, file *credentialsFile) error {
	if a.flags.output == outputJSON {
		return a.writeJSON(struct{ AccessKey keyturnapi.AccessKey }{out.AccessKey})
	}
	return a.println("created", out.AccessKey.AccessKeyID, "as profile", file.profile, "of", file.path)
}
