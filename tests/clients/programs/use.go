// Uses the client that openapi-generator made for Go (`client`), against the daemon at Args[1].
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"client"
)

func check(good bool, what any) {
	if !good {
		fmt.Fprintf(os.Stderr, "%+v\n", what)
		os.Exit(1)
	}
}

func main() {
	configuration := client.NewConfiguration()
	configuration.Servers = client.ServerConfigurations{{URL: os.Args[1]}}
	tasks := client.NewAPIClient(configuration).TasksAPI
	background := context.Background()
	run := os.Args[2]

	// Submit and wait, then submit again with the same key.
	task := client.NewNewTaskRequest("echo")
	task.SetData(map[string]any{"hello": "world"})
	task.SetTags([]string{run})
	queued, _, err := tasks.QueueTask(background).NewTaskRequest(*task).Wait(60).IdempotencyKey(run).Execute()
	check(err == nil && queued.Task.Status == "completed", err)
	again, _, err := tasks.QueueTask(background).NewTaskRequest(*task).IdempotencyKey(run).Execute()
	check(err == nil && again.TaskId == queued.TaskId, err)

	// Wait for one that fails, and redrive it with other data.
	wrong := client.NewNewTaskRequest("prime")
	wrong.SetData(map[string]any{"limit": "many"})
	wrong.SetTags([]string{run})
	second, _, err := tasks.QueueTask(background).NewTaskRequest(*wrong).Execute()
	check(err == nil, err)
	failed, _, err := tasks.GetTask(background, second.TaskId).Wait(60).Execute()
	check(err == nil && failed.Status == "failed" && failed.GetLastError() != "", err)
	other := client.NewRedriveRequest()
	other.SetData(map[string]any{"limit": 10})
	redriven, _, err := tasks.RedriveTask(background, second.TaskId).RedriveRequest(*other).Execute()
	check(err == nil && redriven.Status == "pending", err)

	// Cancel one that waits.
	late := client.NewNewTaskRequest("echo")
	late.SetDelay(600)
	late.SetTags([]string{run})
	third, _, err := tasks.QueueTask(background).NewTaskRequest(*late).Execute()
	check(err == nil, err)
	cancelled, _, err := tasks.CancelTask(background, third.TaskId).Execute()
	check(err == nil && cancelled.Status == "failed", err)

	// List them, by pages.
	page, answer, err := tasks.ListTasks(background).Tag([]string{run}).Limit(2).Execute()
	check(err == nil && len(page) == 2, err)
	rest, _, err := tasks.ListTasks(background).Tag([]string{run}).Limit(2).Cursor(answer.Header.Get("Next-Cursor")).Execute()
	check(err == nil && len(rest) == 1, err)

	// What is refused says why.
	_, answer, err = tasks.QueueTask(background).NewTaskRequest(*client.NewNewTaskRequest("ecko")).Execute()
	check(err != nil && answer.StatusCode == http.StatusBadRequest, answer)
}
