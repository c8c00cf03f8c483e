package main

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
)

type task struct {
	ID   string         `json:"task_id"`
	Data map[string]any `json:"task_data"`
}

func handle(t task) (any, error) {
	name, ok := t.Data["name"].(string)
	if !ok {
		return nil, errors.New("data.name must be a string")
	}
	return map[string]any{"hello": name}, nil
}

func main() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var t task
		if err := in.Decode(&t); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		reply := map[string]any{"task_id": t.ID}
		if result, err := handle(t); err != nil {
			reply["status"], reply["error"] = "error", err.Error()
		} else {
			reply["status"], reply["result"] = "success", result
		}
		if err := out.Encode(reply); err != nil {
			log.Fatal(err)
		}
	}
}
