package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/quantize"
)

func TestParseShard(t *testing.T) {
	slurm := map[string]string{"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_COUNT": "3"}
	for _, x := range []struct {
		text        string
		environment map[string]string
		want        quantize.Shard
		refused     bool
	}{
		{text: "", environment: slurm},
		{text: "0/1", want: quantize.Shard{Index: 0, Count: 1}},
		{text: "3/4", want: quantize.Shard{Index: 3, Count: 4}},
		{text: "auto", environment: slurm, want: quantize.Shard{Index: 1, Count: 3}},
		{text: "auto", environment: map[string]string{"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "3"}, want: quantize.Shard{Index: 1, Count: 3}},
		{text: "auto", environment: map[string]string{"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETIONS": "3"}, want: quantize.Shard{Index: 2, Count: 3}},
		{text: "auto", refused: true},
		{text: "auto", environment: map[string]string{"JOB_COMPLETION_INDEX": "2"}, refused: true},
		{text: "auto", environment: map[string]string{"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_COUNT": "3"}, refused: true},
		{text: "4/4", refused: true}, {text: "-1/4", refused: true}, {text: "1", refused: true}, {text: "a/b", refused: true},
		{text: "1/4/2", refused: true}, {text: "0/0", refused: true},
	} {
		got, err := parseShard(x.text, func(name string) (string, bool) { v, ok := x.environment[name]; return v, ok })
		var usage usageError
		if got != x.want || x.refused != errors.As(err, &usage) || err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q in %v: %v, %v", x.text, x.environment, got, err)
		}
	}
}
