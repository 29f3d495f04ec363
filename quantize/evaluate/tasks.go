package evaluate

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/gptoss/harmony"
	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
	"github.com/seed-796a8800/tritium/graph"
)

const (
	maxTaskLine = 1 << 20
	// maxAnswerTokens bounds what a model may write, analysis included.
	maxAnswerTokens = 1024
	// taskSlots is how many tasks are worked on at a time: enough that a
	// weight pass is shared well, few enough to keep the caches small.
	taskSlots = 32
)

// Task is a question with one right answer.
type Task struct {
	System   string `json:"system"`
	User     string `json:"user"`
	Expected string `json:"expected"`
	Kind     string `json:"kind,omitempty"` // for counts per kind
}

// TaskCount counts the tasks that a model answered exactly right.
type TaskCount struct {
	Correct int `json:"correct"`
	Total   int `json:"total"`
}

// TaskResult is the outcome of RunTasks.
type TaskResult struct {
	TaskCount
	// Kinds has a count for every kind that the tasks name.
	Kinds map[string]TaskCount `json:"kinds,omitempty"`
}

// String returns "17/20", or "-" for tasks that were not run.
func (r *TaskResult) String() string {
	if r == nil {
		return "-"
	}
	return fmt.Sprintf("%d/%d", r.Correct, r.Total)
}

func (r *TaskResult) add(kind string, correct bool) {
	count := func(c TaskCount) TaskCount {
		c.Total++
		if correct {
			c.Correct++
		}
		return c
	}
	r.TaskCount = count(r.TaskCount)
	if kind != "" {
		if r.Kinds == nil {
			r.Kinds = map[string]TaskCount{}
		}
		r.Kinds[kind] = count(r.Kinds[kind])
	}
}

// ReadTasks reads tasks, one JSON object a line:
//
//	{"system": "You are ...", "user": "Who wrote Jurgen?", "expected": "James Branch Cabell wrote Jurgen."}
//
// "system" may be missing, and so may "kind". Empty lines are skipped.
//
// Errors: a line that is not such an object, with its number; no tasks at all.
func ReadTasks(r io.Reader) ([]Task, error) {
	var tasks []Task
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxTaskLine)
	n := 0
	for lines.Scan() {
		n++
		if len(strings.TrimSpace(lines.Text())) == 0 {
			continue
		}
		var t Task
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil {
			return nil, fmt.Errorf("evaluate: tasks: line %d: %w", n, err)
		}
		if t.User == "" || strings.TrimSpace(t.Expected) == "" {
			return nil, fmt.Errorf(`evaluate: tasks: line %d: want "user" and "expected"`, n)
		}
		tasks = append(tasks, t)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("evaluate: tasks: line %d: %w", n+1, err)
	}
	if len(tasks) == 0 {
		return nil, fmt.Errorf("evaluate: the file holds no tasks")
	}
	return tasks, nil
}

// RunTasks asks a model the tasks, as harmony conversations of a system and a
// user message, and counts the answers that are exactly right: the first
// message on the final channel, ended by the model itself and without space
// around it, is the expected text. Decoding is greedy; an answer ends at a stop
// id, or after 1024 tokens, or as soon as it cannot become right any more.
//
// Several tasks are worked on at a time, in one batch; the counts do not depend
// on which.
//
// Errors: a tokenizer without harmony's special tokens, logits that are not
// numbers.
func RunTasks(ctx context.Context, cpu *graph.CPU, m Model, tok *tokenizer.Tokenizer, stop []int32, tasks []Task, progress func(done, total int)) (TaskResult, error) {
	var result TaskResult
	encoding, err := harmony.New(tok)
	if err != nil {
		return result, fmt.Errorf("evaluate: tasks: %w", err)
	}
	rows := max(taskSlots, min(maxDefaultRows/4, logitBytes/(4*m.Config.Vocab)))
	plan, err := gptoss.Compile(m.Config, m.Weights, cpu, rows)
	if err != nil {
		return result, fmt.Errorf("evaluate: %s: %w", m.Name, err)
	}
	queue := tasks
	next := func() (*gptoss.Text, error) {
		if len(queue) == 0 {
			return nil, nil
		}
		task := &queue[0]
		queue = queue[1:]
		ids, err := task.prompt(encoding)
		if err != nil {
			return nil, err
		}
		if limit := m.Config.MaxPositions; limit > 0 && len(ids) > limit {
			return nil, fmt.Errorf("the task %.40q has %d tokens, more than the context of %d", task.User, len(ids), limit)
		}
		answer, written := newAnswer(encoding, task.Expected), 0
		return &gptoss.Text{Prompt: ids, Write: func(id int32, full bool) (more bool) {
			written++
			verdict := answer.write(id, slices.Contains(stop, id))
			if verdict == undecided && written < maxAnswerTokens && !full {
				return true
			}
			result.add(task.Kind, verdict == right)
			if progress != nil {
				progress(result.Total, len(tasks))
			}
			return false
		}}, nil
	}
	if err := gptoss.ContinueAll(ctx, plan, taskSlots, next); err != nil {
		if ctx.Err() != nil {
			return result, ctx.Err()
		}
		return result, fmt.Errorf("evaluate: %s: %w", m.Name, err)
	}
	return result, nil
}
