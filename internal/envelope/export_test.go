package envelope

func init() { workFactor = 10 } // with the race detector the usual one takes half a minute
