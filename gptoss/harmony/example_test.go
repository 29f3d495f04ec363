package harmony_test

import (
	"fmt"
	"log"

	"github.com/seed-796a8800/tritium/gptoss/harmony"
	"github.com/seed-796a8800/tritium/gptoss/tokenizer"
	"github.com/seed-796a8800/tritium/testdata"
)

func Example() {
	file, err := testdata.Nano().Open("tokenizer.json")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	tok, err := tokenizer.Read(file)
	if err != nil {
		log.Fatal(err)
	}
	encoding, err := harmony.New(tok)
	if err != nil {
		log.Fatal(err)
	}

	system := harmony.NewSystem()
	system.CurrentDate = "2025-06-28"
	system.Reasoning = harmony.ReasoningLow
	conversation := harmony.Conversation{
		System:    system,
		Developer: &harmony.Developer{Instructions: "Be brief."},
		Messages:  []harmony.Message{{Role: harmony.RoleUser, Text: "What is 2 + 2?"}},
	}
	prompt, err := encoding.RenderForCompletion(conversation)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tok.Decode(prompt))

	// What a model might write.
	answer := tok.EncodeSpecial("<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant<|channel|>final<|message|>4.<|return|>")
	parser := encoding.NewParser(harmony.RoleAssistant)
	for _, id := range answer {
		for _, event := range parser.Write(id) {
			switch event.Kind {
			case harmony.Delta: // show it
			case harmony.End:
				conversation.Messages = append(conversation.Messages, event.Message)
				fmt.Printf("%s: %s\n", event.Message.Channel, event.Message.Text)
			}
		}
	}
	fmt.Println("repaired:", parser.Repaired())
	// Output:
	// <|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.
	// Knowledge cutoff: 2024-06
	// Current date: 2025-06-28
	//
	// Reasoning: low
	//
	// # Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|><|start|>developer<|message|># Instructions
	//
	// Be brief.<|end|><|start|>user<|message|>What is 2 + 2?<|end|><|start|>assistant
	// analysis: Easy.
	// final: 4.
	// repaired: 0
}

func ExampleTool() {
	file, err := testdata.Nano().Open("tokenizer.json")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	tok, err := tokenizer.Read(file)
	if err != nil {
		log.Fatal(err)
	}
	encoding, err := harmony.New(tok)
	if err != nil {
		log.Fatal(err)
	}
	weather := harmony.Tool{
		Name:        "weather",
		Description: "The weather at a place.",
		Parameters: []byte(`{
			"type": "object",
			"properties": {
				"place": {"type": "string", "description": "City and country"},
				"unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}
			},
			"required": ["place"]
		}`),
	}
	call := harmony.Message{Role: harmony.RoleAssistant, Channel: harmony.ChannelCommentary, Recipient: "functions.weather",
		ContentType: harmony.ContentJSON, Text: `{"place": "Bern"}`}
	ids, err := encoding.RenderForCompletion(harmony.Conversation{
		Developer: &harmony.Developer{Tools: []harmony.Tool{weather}},
		Messages: []harmony.Message{
			{Role: harmony.RoleUser, Text: "Do I need a coat in Bern?"},
			call,
			harmony.ToolResult(call, `{"temperature": 4}`),
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tok.Decode(ids))
	// Output:
	// <|start|>developer<|message|># Tools
	//
	// ## functions
	//
	// namespace functions {
	//
	// // The weather at a place.
	// type weather = (_: {
	// // City and country
	// place: string,
	// unit?: "celsius" | "fahrenheit", // default: celsius
	// }) => any;
	//
	// } // namespace functions<|end|><|start|>user<|message|>Do I need a coat in Bern?<|end|><|start|>assistant to=functions.weather<|channel|>commentary <|constrain|>json<|message|>{"place": "Bern"}<|call|><|start|>functions.weather to=assistant<|channel|>commentary<|message|>{"temperature": 4}<|end|><|start|>assistant
}
