package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-796a8800/tritium/internal/hub"
	"github.com/spf13/cobra"
)

// pulled is what `pull --json` prints.
type pulled struct {
	Repo     string     `json:"repo"`
	Revision string     `json:"revision"`
	Commit   string     `json:"commit"`
	Dir      string     `json:"dir"`
	Bytes    int64      `json:"bytes"`
	Fetched  int64      `json:"fetched_bytes"`
	Seconds  float64    `json:"seconds"`
	Files    []hub.File `json:"files"`
}

func newPull(a *app) *cobra.Command {
	var revision, dir string
	cmd := &cobra.Command{
		Use:   "pull REPO",
		Short: "Fetch a model from the Hugging Face Hub",
		Long: `Pull fetches what tritium reads of a repository on the Hugging Face Hub: weights
in safetensors, configuration and tokenizer, not the copies in original/ and
metal/. It prints the directory that holds them. Every file is checked against
the hash that the Hub lists. What was interrupted goes on where it ended when
the same command is given again.

The model goes into the cache that other tools share, and REPO (or
REPO@REVISION) is then a MODEL for every command, without a network. With --dir
it goes into a plain directory, where files of the same names are replaced.

Environment: HF_TOKEN (or the token that 'hf auth login' has stored; sent to the
Hub alone), HF_ENDPOINT (a mirror), HF_HOME and HF_HUB_CACHE (where the cache
is), HF_HUB_OFFLINE, HTTPS_PROXY.`,
		Example: "  tritium pull openai/gpt-oss-20b\n  tritium run openai/gpt-oss-20b -p \"It was a dark and stormy night, and\"\n" +
			"  tritium pull openai/gpt-oss-20b --dir ./gpt-oss-20b",
		Args: wantArgs("REPO"),
		RunE: func(cmd *cobra.Command, args []string) error {
			repo, at, ok := repoOf(args[0])
			switch {
			case !ok:
				return usagef("%.200q is no repository; write it as openai/gpt-oss-20b", args[0])
			case at != mainRevision && cmd.Flags().Changed("revision"):
				return usagef("%s names a revision and --revision another; give one", args[0])
			case at == mainRevision:
				at = revision
			}
			return a.pull(cmd.Context(), repo, at, dir)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&revision, "revision", mainRevision, "branch, tag or commit")
	f.StringVar(&dir, "dir", "", "put the files into this `directory` instead of the cache")
	return cmd
}

func (a *app) pull(ctx context.Context, repo, revision, dir string) error {
	start := time.Now()
	s := readHubSettings(os.Getenv)
	if dir == "" && s.cache == "" {
		return errors.New("there is no home directory for the cache; say where to with --dir or HF_HOME")
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	defer c.Close()
	commit, files, err := listModel(ctx, c, repo, revision)
	if err != nil {
		return err
	}
	place := s.cache.Place(repo, revision, commit)
	if dir != "" {
		if dir, err = filepath.Abs(dir); err != nil {
			return err
		}
		place = hub.Dir(dir)
	}
	a.onInterrupt = "; the same command goes on from here"
	r, err := a.fetch(ctx, c, hub.Pull{Repo: repo, Commit: commit, Files: files, Place: place})
	if err != nil {
		return err
	}
	took := time.Since(start)
	if a.json {
		return a.printJSON(pulled{repo, revision, commit, r.Dir, r.Bytes, r.Fetched, took.Seconds(), files})
	}
	a.remark("%s at %.12s: %s in %d files, of which %s were fetched in %v", repo, commit, bytesText(r.Bytes), len(files),
		bytesText(r.Fetched), took.Round(time.Second))
	_, err = fmt.Fprintln(a.out, r.Dir)
	return err
}

// fetch runs a pull and shows how far it is.
func (a *app) fetch(ctx context.Context, c *hub.Client, p hub.Pull) (hub.Result, error) {
	display := a.progress("pull "+p.Repo, "B")
	defer display.Close()
	p.Progress = func(step string, done, total int64) {
		if total > 0 {
			step = fmt.Sprintf("%s of %s, %s", bytesText(done), bytesText(total), step)
		}
		display.Update(step, float64(done), float64(total))
	}
	return p.Run(ctx, c)
}

// listModel returns the commit of a revision, and its files that tritium reads.
func listModel(ctx context.Context, c *hub.Client, repo, revision string) (commit string, files []hub.File, err error) {
	if commit, err = c.Commit(ctx, repo, revision); err != nil {
		return "", nil, err
	}
	if files, err = c.Files(ctx, repo, commit); err != nil {
		return "", nil, err
	}
	files, err = hub.Choose(files)
	return commit, files, err
}
