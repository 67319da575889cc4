package smapi_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// globe is a model of what one name means in three regions.
type globe map[string]*copied // :: region → the secret there

// copied is a secret of the model.
type copied struct {
	value   string
	primary string            // of a replica: its primary's region
	links   map[string]string // of a primary: region → Status
	deleted time.Time         // when its recovery window ends
	rotates bool
}

func (c *copied) live() bool { return c != nil && c.deleted.IsZero() }

// writable: it is there, live, and no replica.
func (c *copied) writable() bool { return c.live() && c.primary == "" }

// spared: ForceOverwriteReplicaSecret does not touch it.
func (c *copied) spared() bool { return c.primary != "" || len(c.links) > 0 }

// replicate links a secret to a region, unless it is linked already.
func (g globe) replicate(from, to string, force bool) {
	c := g[from]
	if c.links[to] == "InSync" {
		return
	}
	if there := g[to]; there != nil && (!force || there.spared()) {
		c.links[to] = "Failed"
		return
	}
	c.links[to], g[to] = "InSync", &copied{value: c.value, primary: from, links: map[string]string{}}
}

// unlink removes a replica, if that is what is there.
func (g globe) unlink(from, to string) {
	if g[from].links[to] == "InSync" {
		delete(g, to)
	}
	delete(g[from].links, to)
}

func (g globe) store(region, value string) {
	g[region].value = value
	for to, status := range g[region].links {
		if status == "InSync" {
			g[to].value = value
		}
	}
}

func (g globe) expire(now time.Time) {
	maps.DeleteFunc(g, func(_ string, c *copied) bool { return !c.deleted.IsZero() && !c.deleted.After(now) })
}

// shown is what a client can tell: the region's value, or why there is none.
func (g globe) shown(region string) string {
	switch c := g[region]; {
	case c == nil:
		return "ResourceNotFoundException"
	case !c.live():
		return "InvalidRequestException"
	case c.primary != "":
		return fmt.Sprint(c.value, true, c.links, g[c.primary].rotates)
	default:
		return fmt.Sprint(c.value, false, c.links, c.rotates)
	}
}

// globeTest draws calls, makes them, and compares their effects with the model.
type globeTest struct {
	house *house
	model globe
	puts  int
}

// globeName is the name of all secrets of a globe.
const globeName = "s"

var globeRegions = []string{"us-east-1", "eu-west-1", "ap-south-1"}

// What a name means in each region after any sequence of calls is what the model
// says: no call removes or changes a secret that it is not about.
func TestAnyCallsInRegions(t *testing.T) { anyCalls(t, callsInRegions) }

func callsInRegions(h *house) func(*rapid.T) {
	return func(t *rapid.T) {
		g := &globeTest{house: h, model: globe{}}
		t.Repeat(map[string]func(*rapid.T){"": g.check, "create": g.create, "put": g.put, "delete": g.remove, "restore": g.restore,
			"wait": g.wait, "replicate": g.replicate, "unlink": g.unlink, "promote": g.promote, "rotate": g.rotate})
	}
}

// region draws one, and returns its client and what the model has there.
func (g *globeTest) region(t *rapid.T) (region string, c client, there *copied) {
	region = rapid.SampledFrom(globeRegions).Draw(t, "region")
	return region, g.house.in(region), g.model[region]
}

func (g *globeTest) create(t *rapid.T) {
	region, c, there := g.region(t)
	_, err := c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String(globeName), SecretString: aws.String("new")})
	if wantEnd(t, there == nil, err); there == nil {
		g.model[region] = &copied{value: "new", links: map[string]string{}}
	}
}

func (g *globeTest) put(t *rapid.T) {
	region, c, there := g.region(t)
	g.puts++
	_, err := c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String(globeName), SecretString: aws.String(strconv.Itoa(g.puts))})
	if wantEnd(t, there.writable(), err); there.writable() {
		g.model.store(region, strconv.Itoa(g.puts))
	}
}

func (g *globeTest) remove(t *rapid.T) {
	region, c, there := g.region(t)
	in := &sm.DeleteSecretInput{SecretId: aws.String(globeName)}
	ok := there.writable() && len(there.links) == 0
	force := rapid.Bool().Draw(t, "force")
	if in.RecoveryWindowInDays = aws.Int64(7); force {
		in.RecoveryWindowInDays, in.ForceDeleteWithoutRecovery = nil, aws.Bool(true)
		ok = there == nil || !there.spared()
	}
	_, err := c.DeleteSecret(t.Context(), in)
	switch wantEnd(t, ok, err); {
	case ok && force:
		delete(g.model, region)
	case ok:
		there.deleted = time.Now().Add(7 * 24 * time.Hour)
	}
}

func (g *globeTest) restore(t *rapid.T) {
	_, c, there := g.region(t)
	_, err := c.RestoreSecret(t.Context(), &sm.RestoreSecretInput{SecretId: aws.String(globeName)})
	ok := there != nil && there.primary == ""
	if wantEnd(t, ok, err); ok {
		there.deleted = time.Time{}
	}
}

func (g *globeTest) wait(*rapid.T) {
	time.Sleep(4 * 24 * time.Hour)
	g.model.expire(time.Now())
}

func (g *globeTest) replicate(t *rapid.T) {
	from, c, there := g.region(t)
	to, force := rapid.SampledFrom(globeRegions).Draw(t, "to"), rapid.Bool().Draw(t, "force")
	_, err := c.replicate(globeName, force, region(to))
	ok := there.writable() && from != to
	if wantEnd(t, ok, err); ok {
		g.model.replicate(from, to, force)
	}
}

func (g *globeTest) unlink(t *rapid.T) {
	from, c, there := g.region(t)
	to := rapid.SampledFrom(globeRegions).Draw(t, "to")
	_, err := c.RemoveRegionsFromReplication(t.Context(), &sm.RemoveRegionsFromReplicationInput{SecretId: aws.String(globeName), RemoveReplicaRegions: []string{to}})
	if wantEnd(t, there.writable(), err); there.writable() {
		g.model.unlink(from, to)
	}
}

func (g *globeTest) promote(t *rapid.T) {
	region, c, there := g.region(t)
	_, err := c.StopReplicationToReplica(t.Context(), &sm.StopReplicationToReplicaInput{SecretId: aws.String(globeName)})
	ok := there != nil && there.primary != ""
	if wantEnd(t, ok, err); ok {
		delete(g.model[there.primary].links, region)
		there.primary = ""
	}
}

// rotate configures rotation, which is not due before the end of the test.
func (g *globeTest) rotate(t *rapid.T) {
	region, c, there := g.region(t)
	_, err := c.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: aws.String(globeName),
		RotationLambdaARN: aws.String("arn:aws:lambda:" + region + ":" + account + ":function:rotator"),
		RotationRules:     &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(1000)}, RotateImmediately: aws.Bool(false)})
	if wantEnd(t, there.writable(), err); there.writable() {
		there.rotates = true
	}
}

// check compares every region with the model, once all copies are made.
func (g *globeTest) check(t *rapid.T) {
	synctest.Wait()
	for _, region := range globeRegions {
		if diff := cmp.Diff(g.model.shown(region), g.shown(t, region)); diff != "" {
			t.Fatalf("%s (-model +server):\n%s", region, diff)
		}
	}
}

// shown is globe.shown of the server.
func (g *globeTest) shown(t *rapid.T, region string) string {
	c := g.house.in(region)
	got, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String(globeName)})
	if failure, ok := errors.AsType[smithy.APIError](err); ok {
		return failure.ErrorCode()
	}
	d := c.describe(globeName)
	links := map[string]string{}
	for _, r := range d.ReplicationStatus {
		links[*r.Region] = string(r.Status)
	}
	of := aws.ToString(d.PrimaryRegion)
	return fmt.Sprint(*got.SecretString, !slices.Contains([]string{"", region}, of), links, aws.ToBool(d.RotationEnabled))
}
