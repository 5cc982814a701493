"""Sentences for email bodies in several languages, some with emoji and other 4-byte characters."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """What a short business email is made of; `{name}` is the one written to."""

    code: str
    greeting: str
    sentences: tuple[str, ...]
    closing: str
    subjects: tuple[str, ...]
    wrote: str
    labels: tuple[str, str, str, str]
    """The headers of a quoted mail: From, Sent, To, Subject."""


ENGLISH = Language(
    "en",
    "Hi {name},",
    (
        "The export finished overnight and the figures match ours.",
        "Could you confirm the renewal date before Friday?",
        'We still see "timeout" errors in the <reports> tab & in the nightly job.',
        "Our finance team needs the signed order form 📎 by the end of the month.",
        "Thanks for the quick turnaround, the team is really happy 🎉.",
        "Two of our sites cannot log in since this morning.",
        "Please add Lee from procurement to the next call.",
        "The new dashboard went live and adoption is at 64 %.",
        "I am worried about the open tickets; this is the third time we ask.",
        "Let us move the quarterly review to Thursday, 15:00 CET.",
    ),
    "Best regards,",
    (
        "Renewal paperwork",
        "Login trouble at two sites",
        "Quarterly review",
        "Export figures",
        "Order form",
        "Rollout plan",
    ),
    "On {date}, {who} wrote:",
    ("From", "Sent", "To", "Subject"),
)
GERMAN = Language(
    "de",
    "Guten Tag {name},",
    (
        "vielen Dank für die schnelle Rückmeldung.",
        "Könnten Sie uns bitte die Vertragsverlängerung bestätigen?",
        "Seit gestern läuft die Schnittstelle wieder ohne Störungen.",
        "Für die Prüfung benötigen wir die Rechnung über 12.400 €.",
        "Die Größe der Anhänge überschreitet leider unser Limit.",
    ),
    "Mit freundlichen Grüßen",
    ("Vertragsverlängerung", "Störung der Schnittstelle", "Rückfrage zur Rechnung"),
    "Am {date} schrieb {who}:",
    ("Von", "Gesendet", "An", "Betreff"),
)
FRENCH = Language(
    "fr",
    "Bonjour {name},",
    (
        "merci pour votre retour rapide.",
        "Nous avons toujours un problème d'accès depuis hier.",
        "Pourriez-vous nous envoyer le devis signé ?",
        "L'équipe est ravie du nouveau tableau de bord 🥳.",
        "La réunion est reportée à jeudi à 15 h.",
    ),
    "Cordialement,",
    ("Problème d'accès", "Devis à signer", "Réunion reportée"),
    "Le {date}, {who} a écrit :",
    ("De", "Envoyé", "À", "Objet"),
)
SPANISH = Language(
    "es",
    "Hola {name}:",
    (
        "gracias por la información.",
        "¿Podrían confirmar la fecha de renovación?",
        "Desde esta mañana no podemos iniciar sesión.",
        "El equipo está muy contento con la formación 👏🏽.",
        "Adjunto encontrará el contrato firmado.",
    ),
    "Un saludo,",
    ("Fecha de renovación", "Problemas de acceso", "Contrato firmado"),
    "El {date}, {who} escribió:",
    ("De", "Enviado", "Para", "Asunto"),
)
JAPANESE = Language(
    "ja",
    "{name} 様",
    (
        "お世話になっております。",
        "契約更新の日程をご確認いただけますでしょうか。",
        "昨日からログインできない状態が続いています。",
        "新しいダッシュボードはとても好評です😊。",
        "𠮷田様にも共有をお願いいたします。",
    ),
    "よろしくお願いいたします。",
    ("契約更新について", "ログインの件", "次回のお打ち合わせ"),
    "{date} {who} のメール:",
    ("差出人", "送信日時", "宛先", "件名"),
)
PORTUGUESE = Language(
    "pt",
    "Olá {name},",
    (
        "obrigado pelo retorno.",
        "Ainda não recebemos a nota fiscal de março.",
        "A integração voltou a funcionar hoje às 9h.",
        "Podemos remarcar a reunião para quinta-feira?",
    ),
    "Atenciosamente,",
    ("Nota fiscal de março", "Integração", "Remarcar reunião"),
    "Em {date}, {who} escreveu:",
    ("De", "Enviado", "Para", "Assunto"),
)

LANGUAGES = (ENGLISH, GERMAN, FRENCH, SPANISH, JAPANESE, PORTUGUESE)
WEIGHTS = (60, 10, 10, 8, 8, 4)
