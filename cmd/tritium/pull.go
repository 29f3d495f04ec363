package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/internal/hub"
	"github.com/seed-796a8800/tritium/internal/progress"
	"github.com/spf13/cobra"
)

// pulled is what `pull --json` prints.
type pulled struct {
	Repo     string     `json:"repo"`
	Revision string     `json:"revision"`
	Commit   string     `json:"commit"`
	Dir      string     `json:"dir"`
	Bytes    int64      `json:"bytes"`
	Fetched  int64      `json:"fetched_bytes"` // in this run
	Seconds  float64    `json:"seconds"`
	Files    []hub.File `json:"files"`
}

func newPull(a *app) *cobra.Command {
	var revision, dir string
	cmd := &cobra.Command{
		Use:   "pull REPO",
		Short: "Fetch a model from the Hugging Face Hub",
		Long: `Pull downloads a model, in ranges over several connections, and checks the hash
of every file. What tritium does not read (original/, metal/, other formats) stays
there. Whatever ends it, the same command goes on where it ended, and it mends
what is damaged. Until all files are right there is nothing that could be opened.

The model goes to the cache that other tools share, and is a MODEL by its name
from then on, without a network: 'tritium run REPO', or REPO@REVISION. With --dir
it goes to a plain directory.

The environment is that of the Hub's own tools: HF_TOKEN (or the token file of
'hf auth login'), HF_ENDPOINT for a mirror, HF_HOME or HF_HUB_CACHE for the cache,
HF_HUB_OFFLINE, and HTTPS_PROXY. The token is sent to the Hub alone, never to the
hosts that it redirects downloads to.`,
		Example: "  tritium pull openai/gpt-oss-20b\n  tritium pull openai/gpt-oss-20b --dir ./gpt-oss-20b",
		Args:    wantArgs("REPO"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case !hub.IsRepo(args[0]):
				return usagef("%q is no repository; write it as openai/gpt-oss-20b", args[0])
			case revision == "":
				return usagef("--revision is empty; give a branch, a tag or a commit")
			case cmd.Flags().Changed("dir") && dir == "":
				return usagef("--dir is empty; give a directory")
			}
			return a.pull(cmd.Context(), args[0], revision, dir)
		},
	}
	cmd.Flags().StringVar(&revision, "revision", "main", "branch, tag or commit")
	cmd.Flags().StringVar(&dir, "dir", "", "`directory` to put the files into (default: the shared cache)")
	return cmd
}

func (a *app) pull(ctx context.Context, repo, revision, dir string) error {
	start := time.Now()
	settings, err := hubEnvironment()
	if err != nil {
		return err
	}
	c, err := settings.client()
	if err != nil {
		return err
	}
	defer c.Close()
	out := pulled{Repo: repo, Revision: revision}
	if out.Commit, err = c.Commit(ctx, repo, revision); err != nil {
		return err
	}
	files, err := c.Files(ctx, repo, out.Commit)
	if err != nil {
		return err
	}
	if out.Files, err = hub.Choose(files); err != nil {
		return fmt.Errorf("%s: %w", repo, err)
	}
	// Better now than after the weights.
	if _, err := fetchConfig(ctx, c, repo, out.Commit, out.Files); err != nil {
		return err
	}
	place := hub.Place(hub.Dir(dir))
	if dir == "" {
		place = hub.Cache(settings.cache).Place(repo, revision, out.Commit)
	}
	a.onInterrupt = "; the same command goes on from here"
	show := a.progress("pull", "B")
	p := hub.Pull{Repo: repo, Commit: out.Commit, Files: out.Files, Place: place, Progress: func(step string, done, total int64) {
		step = fmt.Sprintf("%s of %s, %s", progress.Quantity(float64(done), "B"), progress.Quantity(float64(total), "B"), step)
		show.Update(step, float64(done), float64(total))
	}}
	result, err := p.Run(ctx, c)
	show.Close()
	if err != nil {
		return err
	}
	out.Dir, out.Bytes, out.Fetched, out.Seconds = result.Dir, result.Bytes, result.Fetched, time.Since(start).Seconds()
	if a.json {
		return a.printJSON(out)
	}
	fmt.Fprintf(a.out, "%s: %d files, %s, all hashes right; %s fetched in %v\n", repo, len(out.Files),
		bytesText(out.Bytes), bytesText(out.Fetched), time.Since(start).Round(time.Second))
	fmt.Fprintln(a.out, out.Dir)
	return nil
}

// fetchConfig fetches config.json, which has to be one of GPT-OSS.
func fetchConfig(ctx context.Context, c *hub.Client, repo, commit string, files []hub.File) ([]byte, error) {
	i := slices.IndexFunc(files, func(f hub.File) bool { return f.Path == "config.json" })
	if i < 0 {
		return nil, fmt.Errorf("%s holds no config.json, so no model that tritium reads", repo)
	}
	config, err := c.Read(ctx, repo, commit, files[i], 0, files[i].Size)
	if err != nil {
		return nil, err
	}
	if _, err := gptoss.ParseConfig(config); err != nil {
		return nil, fmt.Errorf("%s is no model that tritium runs: %w", repo, err)
	}
	return config, nil
}
