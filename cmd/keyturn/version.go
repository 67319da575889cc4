package main

import (
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// buildInfo is what the Go toolchain wrote into the binary.
type buildInfo struct {
	Version  string
	Commit   string `json:",omitzero"`
	Time     string `json:",omitzero"` // of the commit
	Modified bool   `json:",omitzero"` // the tree differed from the commit
	Go       string
	Platform string
}

func readBuildInfo() buildInfo {
	b := buildInfo{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version and the commit",
		Example: `  keyturn version
  keyturn version -o json`,
		Args: positional(),
		RunE: func(*cobra.Command, []string) error {
			b := readBuildInfo()
			if a.flags.output == outputJSON {
				return a.writeJSON(b)
			}
			words := []string{"keyturn", b.Version}
			if b.Commit != "" {
				words = append(words, "commit "+b.Commit)
			}
			if b.Modified {
				words = append(words, "(modified)")
			}
			return a.println(strings.Join(append(words, b.Go, b.Platform), " "))
		},
	}
}
