package main

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyturn/keyturn/keyturnapi"
)

// completionPatience is how long a shell may wait for what the server knows.
const completionPatience = 2 * time.Second

// offer makes a completion of what a server lists, without what stands on the line
// already; of nothing when the server cannot be asked. most is how many arguments there
// may be; 0: any number.
func offer(most int, list func(context.Context) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completionPatience)
		defer cancel()
		words, err := list(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.DeleteFunc(words, func(w string) bool { return slices.Contains(args, w) }), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeNames offers the names of the secrets for the first argument.
func (a *app) completeNames(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return offer(1, a.secretNames)(cmd, args, typed)
}

// completeManyNames offers them for each argument.
func (a *app) completeManyNames(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return offer(0, a.secretNames)(cmd, args, typed)
}

func (a *app) secretNames(ctx context.Context) ([]string, error) {
	list, err := a.listSecrets(ctx, false)
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = aws.ToString(s.Name)
	}
	return names, err
}

// deletedNames are those of secrets that wait for their deletion.
func (a *app) deletedNames(ctx context.Context) (names []string, err error) {
	list, err := a.listSecrets(ctx, true)
	for _, s := range list {
		if s.DeletedDate != nil {
			names = append(names, aws.ToString(s.Name))
		}
	}
	return names, err
}

func (a *app) accessKeyIDs(ctx context.Context) (ids []string, err error) {
	keys, err := a.listAccessKeys(ctx, accessKeyListFlags{})
	for _, k := range keys {
		ids = append(ids, k.AccessKeyID)
	}
	return ids, err
}

// keyNames are the aliases of encryption keys, or their ids.
func (a *app) keyNames(ctx context.Context) (names []string, err error) {
	return a.ofKeys(ctx, func(k keyturnapi.Key) []string {
		if k.AliasName != "" {
			return []string{k.AliasName}
		}
		return []string{k.KeyID}
	})
}

// oldMaterials are those that might be retired: all but the newest of each key.
func (a *app) oldMaterials(ctx context.Context) ([]string, error) {
	return a.ofKeys(ctx, func(k keyturnapi.Key) (ids []string) {
		for _, m := range k.KeyMaterials[min(1, len(k.KeyMaterials)):] {
			ids = append(ids, m.KeyMaterialID)
		}
		return ids
	})
}

func (a *app) ofKeys(ctx context.Context, words func(keyturnapi.Key) []string) (all []string, err error) {
	client, err := a.keyturn(ctx)
	if err != nil {
		return nil, err
	}
	out, err := client.ListKeys(ctx, &keyturnapi.ListKeysInput{})
	if err != nil {
		return nil, err
	}
	for _, k := range out.Keys {
		all = append(all, words(k)...)
	}
	return all, nil
}

// fitFlags completes the flags that mean the same on every command that has them.
func (a *app) fitFlags(cmd *cobra.Command) {
	stages := cobra.FixedCompletions([]string{stageCurrent, stagePending, stagePrevious}, cobra.ShellCompDirectiveNoFileComp)
	for name, complete := range map[string]cobra.CompletionFunc{
		"admin":         a.completeManyNames,
		"engine":        cobra.FixedCompletions([]string{"mariadb", "mysql", "postgres"}, cobra.ShellCompDirectiveNoFileComp),
		"function":      cobra.FixedCompletions([]string{mysqlFunction, postgresFunction, redisFunction}, cobra.ShellCompDirectiveNoFileComp),
		"stage":         stages,
		"version-stage": stages,
	} {
		if cmd.LocalNonPersistentFlags().Lookup(name) != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, complete)
		}
	}
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) { offerNoFiles(cmd, f) })
	for _, sub := range cmd.Commands() {
		a.fitFlags(sub)
	}
}

// offerNoFiles keeps the names of files from a flag that is not known to take one.
func offerNoFiles(cmd *cobra.Command, f *pflag.Flag) {
	_, completed := cmd.GetFlagCompletionFunc(f.Name)
	_, file := f.Annotations[cobra.BashCompFilenameExt]
	_, folder := f.Annotations[cobra.BashCompSubdirsInDir]
	if !completed && !file && !folder {
		_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions)
	}
}
