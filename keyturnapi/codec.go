package keyturnapi

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// AWS's JSON protocols write a time as a number: seconds since 1970, with the
// milliseconds as fraction. The types of this package hold time.Time.
var (
	timesOut = json.WithMarshalers(json.MarshalToFunc(writeTime))
	timesIn  = json.WithUnmarshalers(json.UnmarshalFromFunc(readTime))
)

func encode(v any) ([]byte, error) {
	return json.Marshal(v, timesOut, json.OmitZeroStructFields(true))
}

// decode takes any member it does not know: an older client reads the answers
// of a newer server.
func decode(data []byte, v any) error {
	return json.Unmarshal(data, v, timesIn)
}

func writeTime(enc *jsontext.Encoder, t time.Time) error {
	ms := t.UnixMilli()
	number := strconv.FormatInt(ms/1000, 10)
	if fraction := ms % 1000; fraction != 0 {
		number = strconv.FormatFloat(float64(ms)/1000, 'f', -1, 64)
	}
	return enc.WriteValue(jsontext.Value(number))
}

func readTime(dec *jsontext.Decoder, t *time.Time) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if tok.Kind() != '0' {
		return fmt.Errorf("a time is a number of seconds, not %s", tok.Kind())
	}
	seconds, err := strconv.ParseFloat(tok.String(), 64)
	if err != nil || math.Abs(seconds) > math.MaxInt64/1e6 {
		return fmt.Errorf("no time: %s seconds", tok.String())
	}
	*t = time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
	return nil
}
