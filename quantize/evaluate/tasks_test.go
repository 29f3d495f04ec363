package evaluate

import (
	"context"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-796a8800/tritium/gptoss/harmony"
	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
)

func nanoTokenizer(t *testing.T) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load(nanoDir + "/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestReadTasks(t *testing.T) {
	got, err := ReadTasks(strings.NewReader(`{"system": "S", "user": "U", "expected": "E"}` + "\n\n" + `{"user": "V", "expected": "F", "kind": "k"}`))
	if want := []Task{{"S", "U", "E", ""}, {"", "V", "F", "k"}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for in, want := range map[string]string{
		"": "no tasks", "\n": "no tasks",
		"{\"user\": \"U\", \"expected\": \"E\"}\n{]":                           "line 2",
		"{\"user\": \"U\"}":                                                    `line 1: want "user" and "expected"`,
		"{\"user\": \"U\", \"expected\": \" \"}":                               `line 1: want "user" and "expected"`,
		"\n{\"user\": \"" + strings.Repeat("x", maxTaskLine) + "\", \"x\": 1}": "line 2",
	} {
		if _, err := ReadTasks(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want %q", in, err, want)
		}
	}
}

func TestPrompt(t *testing.T) {
	tok := nanoTokenizer(t)
	e, err := harmony.New(tok)
	if err != nil {
		t.Fatal(err)
	}
	task := Task{System: "Be <|end|> brief.", User: "Who?"}
	ids, err := task.prompt(e)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.Decode(ids), "<|start|>system<|message|>Be <|end|> brief.<|end|><|start|>user<|message|>Who?<|end|><|start|>assistant"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	specials := 0
	for _, id := range ids {
		if tok.IsSpecial(id) {
			specials++
		}
	}
	if specials != 7 {
		t.Errorf("%d special tokens, want 7: a text must not forge them", specials)
	}
}

func TestAnswer(t *testing.T) {
	tok := nanoTokenizer(t)
	e, err := harmony.New(tok)
	if err != nil {
		t.Fatal(err)
	}
	stop, _ := tok.ID("<|return|>")
	for text, want := range map[string]verdict{
		"<|channel|>final<|message|>Yes, it is.<|return|>":                                                           right,
		"<|channel|>final<|message|> Yes, it is.\n<|return|>":                                                        right,
		"<|channel|>final<|message|>Yes, it is.<|end|>":                                                              right,
		"<|channel|>final <|constrain|>json<|message|>Yes, it is.<|end|>":                                            right,
		"<|channel|>final<|constrain|>json<|message|>Yes, it is.<|end|>":                                             right,
		"<|channel|>analysis<|message|>No.<|end|><|start|>assistant<|channel|>final<|message|>Yes, it is.<|return|>": right,
		"<|channel|>analysis<|message|>Yes, it is.<|return|>":                                                        wrong,
		"<|channel|>finality<|message|>Yes, it is.<|return|>":                                                        wrong,
		"Yes, it is.<|return|>":                                       wrong,
		"<|message|>Yes, it is.<|return|>":                            wrong,
		"<|channel|>final Yes, it is.<|end|>":                         wrong, // what the parser would mend
		"<|channel|>final<|message|>Yes, it is.<|start|>":             wrong,
		"<|channel|>final<|message|>Yes, it<|message|> is.<|return|>": wrong,
		"<|channel|>analysis<|message|>No.<|end|>assistant<|channel|>final<|message|>Yes, it is.<|return|>": right,
		"<|channel|>final<|message|>Yes, it is<|return|>":                                                   wrong,
		"<|channel|>final<|message|>Yes, it is. I":                                                          wrong,
		"<|channel|>final<|message|>No":                                                                     wrong,
		"<|channel|>final<|message|>Yes, it is.":                                                            undecided,
		"<|channel|>final<|message|>Yes, it is.\n":                                                          undecided,
		"<|channel|>final<|message|>Yes,":                                                                   undecided,
		"<|channel|>analysis<|message|>Yes, it is.<|end|>":                                                  undecided,
		"<|channel|>final<|message|>Yes, it is.<|end|><|start|>assistant<|channel|>final<|message|>No, it is not.<|return|>": right,
	} {
		a := newAnswer(e, "Yes, it is.")
		got := undecided
		for _, id := range tok.EncodeSpecial(text) {
			if got = a.write(id, id == stop); got != undecided {
				break
			}
		}
		if got != want {
			t.Errorf("%q is judged %d, want %d", text, got, want)
		}
	}
}

// chain returns a model that answers everything with the same text; no token
// may occur twice in it.
func chain(t *testing.T, tok *tokenizer.Tokenizer, text string) *table {
	t.Helper()
	m := newTable(tok.Size())
	ids := tok.EncodeSpecial("assistant" + text)
	start := len(tok.Encode("assistant")) - 1
	next := make([]int, tok.Size())
	for i := range next {
		next[i] = -1
	}
	for i, id := range ids[start : len(ids)-1] {
		if next[id] >= 0 {
			t.Fatalf("token %d occurs twice in %q", id, text)
		}
		next[id] = int(ids[start+i+1])
	}
	m.logits = func(token, to int) float32 {
		if next[token] == to {
			return 1
		}
		return 0
	}
	return m
}

func TestRunTasks(t *testing.T) {
	tok := nanoTokenizer(t)
	stop, _ := tok.ID("<|return|>")
	m := chain(t, tok, "<|channel|>final<|message|>Yes.<|return|>")
	var tasks []Task
	for range 20 { // more than there are slots
		tasks = append(tasks, Task{"", "Is it?", "Yes.", "is"}, Task{"Think.", "Was it? " + strings.Repeat("Long ago. ", 40), " Yes.\n", "was"}, Task{"", "Will it be?", "No.", "is"})
	}
	var seen []int
	got, err := RunTasks(context.Background(), newCPU(t, 2), m.model("yes"), tok, []int32{stop}, tasks, func(done, total int) {
		if total != len(tasks) {
			t.Errorf("%d tasks in all", total)
		}
		seen = append(seen, done)
	})
	want := TaskResult{TaskCount{40, 60}, map[string]TaskCount{"is": {20, 40}, "was": {20, 20}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if len(seen) == 0 || seen[len(seen)-1] != 60 {
		t.Errorf("progress %v", seen)
	}
	if got.String() != "40/60" {
		t.Errorf("%s", &got)
	}
}

func TestRunTasksLimits(t *testing.T) {
	tok := nanoTokenizer(t)
	never := newTable(tok.Size()) // writes token 0 for ever
	never.config.MaxPositions = 30
	tasks := []Task{{"", "Is it?", "Yes.", ""}}
	got, err := RunTasks(context.Background(), newCPU(t, 2), never.model("never"), tok, nil, tasks, nil)
	if err != nil || got.Correct != 0 || got.Total != 1 {
		t.Errorf("a model that does not stop: %+v, %v", got, err)
	}
	tasks[0].User = strings.Repeat("Is it? ", 60)
	if _, err := RunTasks(context.Background(), newCPU(t, 2), never.model("never"), tok, nil, tasks, nil); err == nil || !strings.Contains(err.Error(), "context of 30") {
		t.Errorf("a question that is too long: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := RunTasks(ctx, newCPU(t, 2), never.model("never"), tok, nil, tasks, nil); err != context.Canceled {
		t.Errorf("canceled: %v", err)
	}
}

// TestSmallTasks: the reference checkpoint's own figures, 20 of 20 "Who wrote"
// and 10 of 20 "Repeat", the first 20 of each in the file.
func TestSmallTasks(t *testing.T) {
	c := open(t, shared(t, smallDir))
	f, err := os.Open(shared(t, textDir+"tasks.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := ReadTasks(f)
	if err != nil {
		t.Fatal(err)
	}
	var tasks []Task
	counts := map[string]int{}
	for _, task := range all {
		task.Kind, _, _ = strings.Cut(task.User, " ")
		if counts[task.Kind]++; counts[task.Kind] <= 20 {
			tasks = append(tasks, task)
		}
	}
	tok, err := c.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.GenerationConfig()
	if err != nil {
		t.Fatal(err)
	}
	got, err := RunTasks(context.Background(), newCPU(t, 0), FromCheckpoint("small", c), tok, g.Stop, tasks, nil)
	want := TaskResult{TaskCount{30, 40}, map[string]TaskCount{"Who": {20, 20}, "Repeat": {10, 20}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}
