// imagefleet from Go with a plain Redis client: submit a job, wait for its result, verify a webhook.
//
//	go run . "a lighthouse at dusk"
//
// IMAGEFLEET_REDIS_URL names the queue (redis://127.0.0.1:6379/0).
package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	silence   = 5 * time.Second
	tolerance = 300 * time.Second
)

// Job holds the fields of a job; `imagefleet schema job` lists them.
type Job map[string]any

// Submit queues a job of the model alias and returns its id. The message is the smallest that a worker takes: Celery's
// message protocol 2, in the envelope that kombu has for Redis.
func Submit(ctx context.Context, client *redis.Client, model string, job Job) (string, error) {
	id, queue := newID(), "imagefleet."+model
	body, err := json.Marshal([]any{[]any{}, map[string]any{"job": job}, map[string]any{}})
	if err != nil {
		return "", err
	}
	message, err := json.Marshal(map[string]any{
		"body":             string(body),
		"content-type":     "application/json",
		"content-encoding": "utf-8",
		"headers":          map[string]any{"task": "imagefleet.generate", "id": id},
		"properties": map[string]any{
			"delivery_tag":  newID(),
			"delivery_info": map[string]any{"exchange": "", "routing_key": queue},
		},
	})
	if err != nil {
		return "", err
	}
	return id, client.LPush(ctx, queue, message).Err()
}

// Result waits for the end of a job and returns its result as JSON (see `imagefleet schema result`). Redis forgets what
// nobody hears, so it subscribes first, then reads the record, and reads it again after a silence.
func Result(ctx context.Context, client *redis.Client, id string) (json.RawMessage, error) {
	subscription := client.Subscribe(ctx, "imagefleet:events:"+id)
	defer subscription.Close()
	if _, err := subscription.Receive(ctx); err != nil {
		return nil, err
	}
	events := subscription.Channel()
	for {
		stored, err := client.HGet(ctx, "imagefleet:job:"+id, "result").Result()
		if err == nil {
			return json.RawMessage(stored), nil
		}
		if !errors.Is(err, redis.Nil) {
			return nil, err
		}
		select {
		case <-events: // progress or the end: the record says which
		case <-time.After(silence):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Verify checks the signature of a webhook (https://www.standardwebhooks.com). A job may be announced more than once,
// always with the same webhook-id.
func Verify(body []byte, headers http.Header, secret string, now time.Time) error {
	id, timestamp := headers.Get("webhook-id"), headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || math.Abs(now.Sub(time.Unix(seconds, 0)).Seconds()) > tolerance.Seconds() {
		return errors.New("the timestamp is missing or too far off")
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return fmt.Errorf("the secret is not base64: %w", err)
	}
	signer := hmac.New(sha256.New, key)
	fmt.Fprintf(signer, "%s.%s.%s", id, timestamp, body)
	expected := signer.Sum(nil)
	for _, each := range strings.Fields(headers.Get("webhook-signature")) {
		given, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(each, "v1,"))
		if strings.HasPrefix(each, "v1,") && err == nil && hmac.Equal(given, expected) {
			return nil
		}
	}
	return errors.New("no signature was made with this secret")
}

func newID() string {
	bytes := make([]byte, 16)
	if _, err := rand.Read(bytes); err != nil {
		log.Fatal(err)
	}
	return hex.EncodeToString(bytes)
}

func main() {
	url := os.Getenv("IMAGEFLEET_REDIS_URL")
	if url == "" {
		url = "redis://127.0.0.1:6379/0"
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		log.Fatal(err)
	}
	prompt := "a lighthouse at dusk"
	if len(os.Args) > 1 {
		prompt = os.Args[1]
	}
	client := redis.NewClient(options)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	id, err := Submit(ctx, client, "default", Job{"prompt": prompt, "steps": 4})
	if err != nil {
		log.Fatal(err)
	}
	result, err := Result(ctx, client, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(result))
}
