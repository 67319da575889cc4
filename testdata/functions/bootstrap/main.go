// Command bootstrap is a function in Go for the runtime provided.al2023: keyturn's
// own rotation of MySQL and MariaDB, and a client of the Lambda Runtime API.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/rotation"
	"github.com/keyturn/keyturn/rotation/mysql"
)

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	f := &rotation.Function{Secrets: secretsmanager.NewFromConfig(cfg), Engine: mysql.Engine{}}
	for {
		if err := serveOne(f); err != nil {
			log.Fatal(err)
		}
	}
}

var api = "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"

func serveOne(f *rotation.Function) error {
	res, err := http.Get(api + "next")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	deadline, err := strconv.ParseInt(res.Header.Get("Lambda-Runtime-Deadline-Ms"), 10, 64)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(context.Background(), time.UnixMilli(deadline))
	defer cancel()
	var e rotation.Event
	if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
		return err
	}
	at := api + res.Header.Get("Lambda-Runtime-Aws-Request-Id")
	result, err := f.Handle(ctx, e)
	if err != nil {
		return post(at+"/error", map[string]string{"errorMessage": err.Error(), "errorType": string(rotation.ClassOf(err))})
	}
	return post(at+"/response", result)
}

func post(url string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	res, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the Runtime API answers %s", res.Status)
	}
	return res.Body.Close()
}
