// Charges one chat session: java Charge.java [http://127.0.0.1:8868 ...], instances in order.

import java.io.IOException;
import java.net.URI;
import java.net.http.*;
import java.time.*;
import java.util.*;

public class Charge {
  static final Set<Integer> AGAIN = Set.of(408, 429, 502, 503, 504); // The same request, later.
  static final Duration GIVE_UP_AFTER = Duration.ofSeconds(60); // Then keep it for better times.
  static final HttpClient CLIENT = HttpClient.newHttpClient();
  static String[] instances = {"http://127.0.0.1:8868"};

  /** The answer; the same key and body every time, so a repeat never charges twice. */
  static String post(String path, String body) throws InterruptedException {
    var key = UUID.randomUUID().toString();
    var deadline = Instant.now().plus(GIVE_UP_AFTER);
    for (int attempt = 0; ; attempt++) {
      var pause = Duration.ofMillis(Math.min(200L << Math.min(attempt, 8), 5000));
      try {
        var uri = URI.create(instances[attempt % instances.length] + path);
        var request = HttpRequest.newBuilder(uri).timeout(Duration.ofSeconds(35)) // api.max_wait, 5 s
            .header("content-type", "application/json").header("idempotency-key", key)
            .POST(HttpRequest.BodyPublishers.ofString(body)).build();
        var answer = CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
        int status = answer.statusCode();
        if (status / 100 == 2) return answer.body();
        var after = answer.headers().firstValue("retry-after");
        boolean inProgress = status == 409 && after.isPresent();
        if (!AGAIN.contains(status) && status != 507 && !inProgress) // 507: another instance.
          throw new IllegalStateException(status + " " + answer.body()); // Ours to mend.
        var asked = Duration.ofSeconds(after.map(Long::parseLong).orElse(0L));
        if (asked.compareTo(pause) > 0) pause = asked;
      } catch (IOException lost) {
        // No connection, or it was lost: the trigger may be charged already.
      }
      if (Instant.now().plus(pause).isAfter(deadline))
        throw new IllegalStateException(path + ": no answer in " + GIVE_UP_AFTER);
      Thread.sleep(pause.toMillis());
    }
  }

  public static void main(String[] given) throws InterruptedException {
    if (given.length > 0) instances = given;
    var session = UUID.randomUUID();
    var start = post("/v1/sessions", """
        {"sessionId": "%s", "timestamp": "%s", "service": "chat", "to": ["tel:+12025550145"],
         "subscriber": [{"type": "e164", "value": "+12025550123"}],
         "request": [{"units": {"seconds": 600}}]}""".formatted(session, Instant.now()));
    System.out.println("start " + start);
    // `denied` is a right answer: do not begin. A JSON library reads this better.
    if (!start.contains("\"advice\":{\"service\":\"continue\"")) return;
    System.out.println("terminate " + post("/v1/sessions/" + session + "/terminate", """
        {"trigger": "bye-received", "timestamp": "%s",
         "usage": [{"units": {"seconds": 311, "messages": 14}}]}""".formatted(Instant.now())));
  }
}
